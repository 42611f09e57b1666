/** Real latents to symbols, in float32: rounded to the nearest, or towards zero where that saves more bits than it costs. */

import { SYMBOL_MAX } from "../format/tile_coder.ts";
import type { PassData, Size } from "./passes.ts";

const OUTLIER_MAX = 2; // magnitudes up to this become 0 at scale index 0: one of them would cost the coding of all
const DETAIL = 4;
const MEAN_ONE = 32;

/**
 * Write the symbols of a pass at the places that it codes.
 *
 * @param gained latents in quantisation steps (M, h, w)
 * @param threshold (64, 4): how far beyond the midpoint a magnitude must lie to be rounded up
 */
export function quantise(
  { pass, mean, index, symbols }: PassData,
  gained: Float32Array,
  threshold: Float32Array,
  { height, width }: Size,
): void {
  const shift = pass.begin * height * width;
  const rows = (pass.end - pass.begin) * height;
  const step = pass.parity === null ? 1 : 2;
  for (let row = 0; row < rows; row++) {
    const begin = row * width;
    for (
      let at = begin + (pass.parity === null ? 0 : ((row % height) + pass.parity) % 2);
      at < begin + width;
      at += step
    ) {
      const residual = Math.fround(gained[shift + at]! - Math.fround(mean[at]! / MEAN_ONE));
      symbols[at] = rounded(residual, index[at]!, threshold);
    }
  }
}

function rounded(residual: number, index: number, threshold: Float32Array): number {
  const magnitude = Math.abs(residual);
  const nearest = roundedHalfToEven(magnitude);
  const limit = Math.fround(Math.fround(nearest - 0.5) + threshold[index * DETAIL + Math.min(nearest, DETAIL - 1)]!);
  const symbol = Math.min(Math.max(nearest - (magnitude < limit ? 1 : 0), 0), SYMBOL_MAX);
  if (index === 0 && symbol <= OUTLIER_MAX) return 0;
  return residual < 0 ? -symbol : symbol;
}

/** A positive number rounded to a whole one, halves to the even one as torch and Python do. */
export function roundedHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
