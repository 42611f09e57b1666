/** The order in which the symbols of a tile are coded: by passes, scale indices and lanes. */

export const GROUPS = 64;

/** The latents of one pass: channels begin..end-1, at all places or at those of one colour of the checkerboard. */
export interface Pass {
  begin: number;
  end: number;
  /** 0: places whose row and column add up to an even number; 1: the others; null: all. */
  parity: 0 | 1 | null;
}

/** The passes of a tile of `latent` channels, of which `low` are coded first, in the order of coding. */
export function passesOf(latent: number, low: number): Pass[] {
  if (!low) return [{ begin: 0, end: latent, parity: null }];
  return [
    { begin: 0, end: low, parity: 0 },
    { begin: 0, end: low, parity: 1 },
    { begin: low, end: latent, parity: null },
  ];
}

/** The latents of a pass in the order of coding. */
export interface Order {
  /** Their places in the arrays of the pass' channels. */
  places: Uint32Array;
  /** Where each scale index begins in `places`, and where the last one ends: 65 numbers. */
  begins: Uint32Array;
}

/**
 * Sort the latents of a pass by scale index, those of the same index in raster order; those below `first` are left out.
 *
 * @param index scale indices (channels, height, width) of the pass' channels
 */
export function sortByIndex(
  index: Uint8Array,
  height: number,
  width: number,
  parity: Pass["parity"],
  first: number,
): Order {
  const counts = new Uint32Array(GROUPS);
  const step = parity === null ? 1 : 2;
  const rows = index.length / width;
  const start = (row: number) => row * width + (parity === null ? 0 : ((row % height) + parity) % 2);
  for (let row = 0; row < rows; row++) {
    for (let at = start(row), end = (row + 1) * width; at < end; at += step) counts[index[at]!]!++;
  }
  const begins = new Uint32Array(GROUPS + 1);
  for (let group = 0; group < GROUPS; group++)
    begins[group + 1] = begins[group]! + (group < first ? 0 : counts[group]!);
  const places = new Uint32Array(begins[GROUPS]!);
  const next = begins.slice();
  for (let row = 0; row < rows; row++) {
    for (let at = start(row), end = (row + 1) * width; at < end; at += step) {
      const group = index[at]!;
      if (group >= first) places[next[group]!++] = at;
    }
  }
  return { places, begins };
}

/** A run of symbols of one group that one lane codes. */
export interface Segment {
  lane: number;
  group: number;
  begin: number;
  end: number;
}

/** How a pass whose groups begin at `begins` (and end at its last number) goes through the lanes. */
export function* segments(begins: ArrayLike<number>, lanes: number): Generator<Segment> {
  const count = begins[begins.length - 1]!;
  let lane = 0;
  for (let group = 0; group + 1 < begins.length; group++) {
    for (let begin = begins[group]!; begin < begins[group + 1]!;) {
      while (Math.floor(((lane + 1) * count) / lanes) <= begin) lane++;
      const end = Math.min(begins[group + 1]!, Math.floor(((lane + 1) * count) / lanes));
      yield { lane, group, begin, end };
      begin = end;
    }
  }
}

/** Where each of `channels` channels of `places` symbols begins, and where the last one ends. */
export function planes(channels: number, places: number): number[] {
  return Array.from({ length: channels + 1 }, (_, channel) => channel * places);
}
