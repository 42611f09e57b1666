/** Colours that alpha hides: they are replaced by a smooth continuation of the colours around them. */

import type { Pixels } from "./planes.ts";

/** Values and weights by row and column. */
interface Level {
  values: Float32Array;
  weight: Float32Array;
  height: number;
  width: number;
}

/**
 * Fill the colours of all pixels of alpha 0, in place; all become 128 if every pixel is hidden.
 *
 * Push-pull interpolation (Gortler et al., "The Lumigraph", SIGGRAPH 1996): known pixels are averaged down a pyramid
 * until no hole is left, and each unknown pixel gets the value of the next coarser level.
 */
export function fillHidden({ data, height, width }: Pixels): void {
  const size = height * width;
  const weight = new Float32Array(size);
  for (let at = 0; at < size; at++) weight[at] = data[4 * at + 3] ? 1 : 0;
  if (weight.every((value) => value > 0)) return;
  const known = weight.some((value) => value > 0);
  for (let colour = 0; colour < 3; colour++) {
    const values = new Float32Array(size);
    for (let at = 0; at < size; at++) values[at] = data[4 * at + colour]!;
    const filled = known ? pushPull({ values, weight, height, width }) : values.fill(128);
    for (let at = 0; at < size; at++) if (!data[4 * at + 3]) data[4 * at + colour] = filled[at]!;
  }
}

/** The values, those of weight 0 replaced. */
function pushPull(level: Level): Float32Array {
  const { values, weight, width } = level;
  if (weight.every((one) => one > 0)) return values;
  const coarse = halved(level);
  const columns = doubledColumns(pushPull(coarse), coarse.height, coarse.width);
  const finer = doubledRows(columns, coarse.height, 2 * coarse.width);
  return values.map((value, at) =>
    weight[at]! > 0 ? value : finer[Math.floor(at / width) * 2 * coarse.width + (at % width)]!,
  );
}

/** The mean of the known of 2 x 2 neighbours, of weight 1 where there is one. */
function halved({ values, weight, height, width }: Level): Level {
  const out = { height: Math.ceil(height / 2), width: Math.ceil(width / 2) };
  const means = new Float32Array(out.height * out.width);
  const total = new Float32Array(out.height * out.width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const to = (row >> 1) * out.width + (column >> 1);
      const at = row * width + column;
      means[to]! += values[at]! * weight[at]!;
      total[to]! += weight[at]!;
    }
  }
  return {
    ...out,
    values: means.map((sum, at) => sum / Math.max(total[at]!, 1)),
    weight: total.map((sum) => Math.min(sum, 1)),
  };
}

/** Twice the width, linearly interpolated: a quarter of a column before and behind each. */
function doubledColumns(values: Float32Array, height: number, width: number): Float32Array {
  const out = new Float32Array(2 * values.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const at = row * width + column;
      const before = values[column ? at - 1 : at]!;
      const behind = values[column + 1 < width ? at + 1 : at]!;
      out[2 * at] = 0.75 * values[at]! + 0.25 * before;
      out[2 * at + 1] = 0.75 * values[at]! + 0.25 * behind;
    }
  }
  return out;
}

/** Twice the height, likewise. */
function doubledRows(values: Float32Array, height: number, width: number): Float32Array {
  const out = new Float32Array(2 * values.length);
  for (let row = 0; row < height; row++) {
    const before = Math.max(row - 1, 0) * width;
    const behind = Math.min(row + 1, height - 1) * width;
    for (let column = 0; column < width; column++) {
      const value = 0.75 * values[row * width + column]!;
      out[2 * row * width + column] = value + 0.25 * values[before + column]!;
      out[(2 * row + 1) * width + column] = value + 0.25 * values[behind + column]!;
    }
  }
  return out;
}
