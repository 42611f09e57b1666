/** A file that was tried. */
export interface Trial {
  blob: Blob;
  fits: boolean;
}

const DOUBLING = 12; // steps of quality after which files are about twice as large

/**
 * The trial with the highest whole quality that fits into `bytes`; that with the lowest quality if none fits. Each trial
 * tells where to look next, every third one halves what is left.
 */
export async function largestWithin<Made extends Trial>(
  encode: (quality: number) => Promise<Made>, bytes: number, lowest: number, highest: number,
): Promise<Made> {
  let best: Made | undefined;
  let low = lowest;
  let high = highest;
  let next = (low + high) >> 1;
  for (let count = 1; low <= high; count++) {
    const trial = await encode(next);
    const guess = Math.floor(next + DOUBLING * Math.log2(bytes / trial.blob.size));
    if (trial.fits) {
      best = trial;
      low = next + 1;
    } else high = next - 1;
    next = count % 3 ? Math.min(high, Math.max(low, guess)) : (low + high) >> 1;
  }
  return best ?? encode(lowest);
}
