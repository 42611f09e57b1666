/** Numbers as the page writes them. */

const SMALL = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A number of bytes as "812 B", "14.2 kB" or "1.53 MB". */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 999_500 ? `${SMALL.format(bytes / 1e3)} kB` : `${SMALL.format(bytes / 1e6)} MB`;
}

/** A number of bytes in full, as "14,213 bytes". */
export function allBytesText(bytes: number): string {
  return `${WHOLE.format(bytes)} byte${bytes === 1 ? "" : "s"}`;
}

/** A time as "0.31 s" or "12 s". */
export function secondsText(seconds: number): string {
  return `${seconds < 10 ? seconds.toFixed(2) : WHOLE.format(seconds)} s`;
}

/** A fraction as a percentage, "50 %". */
export function percentText(fraction: number): string {
  return `${WHOLE.format(100 * fraction)} %`;
}
