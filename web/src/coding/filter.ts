/** The filter of a picture that its file may hold: docs/FORMAT.md, section 8. */

import { LapicError } from "../error.ts";
import { TileDecoder } from "../format/tile_coder.ts";
import { tensor } from "../model/model.ts";
import type { Model, Tensors } from "../model/model.ts";

const FINEST = 24; // half octaves: steps are 2^0 to 2^-12
const FEATURES = 76;
const TAPS = 25; // of a kernel of 5 x 5
const CENTRE = 12;

/** Inputs of the graph "filter" beside the picture, at full size and at 1/8. */
export type Filter = Record<1 | 8, Tensors>;

/** The filter in a file's chunk. Throws LapicError if it is damaged. */
export function readFilter(model: Model, body: Uint8Array): Filter {
  if (!model.has("filter.scale")) {
    throw new LapicError(`the model ${model.manifest.name} has no filters, but the file has one`);
  }
  if (!body.length || body[0]! > FINEST) throw new LapicError("the filter is damaged: its step is unknown");
  const coefficients = readCoefficients(model, body.subarray(1));
  const opponent = model.matrix("filter.opponent").values;
  const taps = model.matrix("filter.taps").values; // (75, 3, 5, 5)
  const step = 2 ** (-body[0]! / 2);
  const weight = (red: number, feature: number) =>
    step * [0, 1, 2].reduce((sum, o) => sum + opponent[3 * o + red]! * coefficients[FEATURES * o + feature]!, 0);
  const kernel = new Float64Array(3 * 3 * TAPS);
  const constant = new Float64Array(3);
  for (let out = 0; out < 3; out++) {
    for (let feature = 0; feature < FEATURES - 1; feature++) {
      const factor = weight(out, feature);
      for (let at = 0; at < 3 * TAPS; at++) kernel[3 * TAPS * out + at]! += factor * taps[3 * TAPS * feature + at]!;
    }
    constant[out] = weight(out, FEATURES - 1) / 64;
  }
  const inputs = (change: Float64Array) => ({
    kernel: tensor(passingOn(change), 3, 3, 5, 5),
    constant: tensor(constant, 3),
  });
  return { 1: inputs(kernel), 8: inputs(flattened(kernel)) };
}

/** A kernel that adds its change to the picture. */
function passingOn(change: Float64Array): Float64Array {
  const out = change.slice();
  for (let colour = 0; colour < 3; colour++) out[TAPS * (3 * colour + colour) + CENTRE]! += 1;
  return out;
}

/** Only what a kernel does to flat areas. */
function flattened(kernel: Float64Array): Float64Array {
  const out = new Float64Array(kernel.length);
  for (let begin = 0; begin < kernel.length; begin += TAPS) {
    out[begin + CENTRE] = kernel.subarray(begin, begin + TAPS).reduce((total, tap) => total + tap, 0);
  }
  return out;
}

/** The coefficients (3, 76). */
function readCoefficients(model: Model, payload: Uint8Array): Int16Array {
  const index = model.bytes("filter.scale");
  const out = new Int16Array(index.length);
  try {
    const decoder = new TileDecoder(model.tables, payload);
    if (decoder.lanes > 1) throw new LapicError("lanes are for tiles");
    decoder.latent(index, 1, FEATURES, null, out);
    decoder.finish(new Int16Array(0), out);
  } catch {
    throw new LapicError("the filter is damaged: its coefficients cannot be decoded");
  }
  return out;
}
