import { PageError } from "./sentence.ts";

const SIGNATURE = [0x8c, 0x4c, 0x41, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];

/** A file that was opened; `isLapic` says whether it is decoded by lapic or by the browser. */
export interface Entry {
  name: string;
  blob: Blob;
  isLapic: boolean;
}

/** An entry of a file, known by its first bytes or by its name. */
export async function entryOf(blob: Blob, name: string): Promise<Entry> {
  const start = new Uint8Array(await blob.slice(0, SIGNATURE.length).arrayBuffer());
  const isSigned = start.length === SIGNATURE.length && SIGNATURE.every((byte, i) => start[i] === byte);
  return { name, blob, isLapic: isSigned || /\.lapic$/i.test(name) };
}

/** The file at an address of this site, which a link names. */
export async function fetchEntry(address: string): Promise<Entry> {
  const url = new URL(address, location.href);
  const name = decodeURIComponent(url.pathname.split("/").pop() || url.host);
  if (url.origin !== location.origin) {
    throw new PageError(`${name}: links open files of this site alone: download it from ${url.host} and drop it here`);
  }
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new PageError(`${name}: cannot be read: the server does not answer`);
  }
  if (!response.ok) throw new PageError(`${name}: cannot be read: the server answers ${response.status}`);
  return entryOf(await response.blob(), name);
}

/** The addresses that the fragment of a link names, as in `#open=a.lapic&open=b.lapic`. */
export function addressesIn(fragment: string): string[] {
  return new URLSearchParams(fragment.replace(/^#/, "")).getAll("open");
}

/** A name with another suffix: photo.png becomes photo.lapic. */
export function renamed(name: string, suffix: string): string {
  return `${name.replace(/\.[^.]*$/, "") || "picture"}.${suffix}`;
}
