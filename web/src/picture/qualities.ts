/** The qualities of a picture's places: one for all, or those of a quality map. docs/FORMAT.md, section 3. */

import type { Header } from "../format/container.ts";
import { QUALITY_ONE } from "../format/container.ts";
import type { Rect } from "./rect.ts";
import { latentBounds } from "./rect.ts";

/** Fixed-point qualities by row and column; 1 x 1 holds for all places. */
export interface Qualities {
  values: Int32Array;
  height: number;
  width: number;
}

/** One quality for all places. */
export function everywhere(quality: number): Qualities {
  return { values: Int32Array.of(quality), height: 1, width: 1 };
}

/** The qualities of a file. */
export function qualitiesOf({ quality, chunks, width, height }: Header): Qualities {
  const map = chunks.get("QMAP");
  if (!map) return everywhere(quality);
  const offsets = new Int8Array(map.buffer, map.byteOffset, map.length);
  const limited = (value: number) => Math.min(Math.max(value, QUALITY_ONE), 100 * QUALITY_ONE);
  const bounds = latentBounds(width, height);
  const values = Int32Array.from(offsets, (offset) => limited(quality + QUALITY_ONE * offset));
  return { values, height: bounds.height, width: bounds.width };
}

/** What `info` says of a quality map; null if there is none. */
export function regionsOf(header: Header): { share: number; quality: number } | null {
  if (!header.chunks.has("QMAP")) return null;
  const { values } = qualitiesOf(header);
  const better = values.filter((value) => value > header.quality).length;
  const best = values.reduce((most, value) => Math.max(most, value));
  return { share: better / values.length, quality: best / QUALITY_ONE };
}

/** Those of a rectangle of places. */
export function partOf(qualities: Qualities, { top, left, height, width }: Rect): Qualities {
  if (qualities.values.length === 1) return qualities;
  const values = new Int32Array(height * width);
  for (let row = 0; row < height; row++) {
    const from = (top + row) * qualities.width + left;
    values.set(qualities.values.subarray(from, from + width), row * width);
  }
  return { values, height, width };
}

/** The means of squares of `factor` places in each direction, as far as there are places, rounded down. */
export function coarser({ values, height, width }: Qualities, factor: number): Qualities {
  const out = { height: Math.ceil(height / factor), width: Math.ceil(width / factor) };
  const sums = new Float64Array(out.height * out.width);
  const counts = new Int32Array(sums.length);
  for (let at = 0; at < values.length; at++) {
    const to = Math.floor(Math.floor(at / width) / factor) * out.width + Math.floor((at % width) / factor);
    sums[to]! += values[at]!;
    counts[to]!++;
  }
  return { ...out, values: Int32Array.from(sums, (sum, at) => Math.floor(sum / counts[at]!)) };
}
