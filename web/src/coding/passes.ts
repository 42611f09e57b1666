/** The passes of a tile: means and scale indices by the exact networks, symbols by whoever codes them. */

import { passesOf } from "../format/order.ts";
import type { Pass } from "../format/order.ts";
import { roundedRowAt, rowsAt } from "../model/levels.ts";
import { floats, octets, rowsTensor, tensor, wholeTensor } from "../model/model.ts";
import type { Model } from "../model/model.ts";
import { coarser } from "../picture/qualities.ts";
import type { Qualities } from "../picture/qualities.ts";
import type { Pause } from "./steps.ts";

const HYPER = 4; // latents in a row and in a column of a hyper-latent

/** The means (1/32 of a step), scale indices and symbols of one pass' channels, each (channels, height, width). */
export interface PassData {
  pass: Pass;
  mean: Float32Array;
  index: Uint8Array;
  symbols: Int16Array;
}

/** Size of a tile in latents. */
export interface Size {
  height: number;
  width: number;
}

/** Fills in the symbols of a pass at the places that it codes. */
export type CodePass = (data: PassData) => void;

/**
 * Run a tile's passes.
 *
 * @param z the hyper-latent (Z, ceil(h/4), ceil(w/4))
 * @param qualities fixed-point, of the tile's places or one for all
 * @returns the passes in the order of coding; each holds its own means and scale indices, and the two over the same
 *   channels share their symbols
 */
export async function runPasses(
  model: Model,
  z: Int16Array,
  qualities: Qualities,
  { height, width }: Size,
  codePass: CodePass,
  pause: Pause,
): Promise<PassData[]> {
  const { M, Z, C } = model.manifest.sizes;
  const low = C || M;
  const [first, ...later] = passesOf(M, C);
  const leave = rowsAt(model.matrix("level.leave"), qualities, roundedRowAt);
  const leaveOf = (begin: number, end: number) => {
    const places = leave.height * leave.width;
    const values = new Float32Array(2 * (end - begin) * places);
    values.set(leave.values.subarray(begin * places, end * places));
    values.set(leave.values.subarray((M + begin) * places, (M + end) * places), values.length / 2);
    return rowsTensor({ ...leave, values });
  };
  const lowShape = [1, low, height, width];

  const hyper = await model.run("hyper", {
    z: tensor(new Float32Array(z), 1, Z, Math.ceil(height / 4), Math.ceil(width / 4)),
    enter: rowsTensor(rowsAt(model.matrix("level.enter"), coarser(qualities, HYPER), roundedRowAt)),
    leave: leaveOf(0, low),
    size: wholeTensor([height, width], 2),
  });
  const lows = new Int16Array(low * height * width);
  const one = { pass: first!, mean: floats(hyper, "mean"), index: octets(hyper, "index"), symbols: lows };
  codePass(one);
  await pause();
  if (!later.length) return [one];

  const seen = () => tensor(new Float32Array(lows), ...lowShape);
  const odd = await model.run("context-odd", { symbols: seen(), x: hyper["x"]!, sums: hyper["sums"]! });
  const two = { pass: later[0]!, mean: floats(odd, "mean"), index: octets(odd, "index"), symbols: lows };
  codePass(two);
  await pause();

  const rest = await model.run("context-rest", {
    symbols: seen(),
    x: hyper["x"]!,
    leave: leaveOf(C, M),
  });
  const symbols = new Int16Array((M - C) * height * width);
  const three = { pass: later[1]!, mean: floats(rest, "mean"), index: octets(rest, "index"), symbols };
  codePass(three);
  await pause();
  return [one, two, three];
}

/** The symbols of all channels, (M, height, width). */
export function allSymbols(passes: readonly PassData[]): Int16Array {
  const last = passes[passes.length - 1]!;
  if (passes.length === 1) return last.symbols;
  const out = new Int16Array(passes[0]!.symbols.length + last.symbols.length);
  out.set(passes[0]!.symbols);
  out.set(last.symbols, passes[0]!.symbols.length);
  return out;
}
