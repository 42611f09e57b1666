/** The passes of a tile: means and scale indices by the exact networks, symbols by whoever codes them. */

import { passesOf } from "../format/order.ts";
import type { Pass } from "../format/order.ts";
import { roundedRowAt } from "../model/levels.ts";
import { floats, octets, tensor, wholeTensor } from "../model/model.ts";
import type { Model } from "../model/model.ts";
import type { Pause } from "./steps.ts";

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
 * @param quality fixed-point, 256..25600
 * @returns the passes in the order of coding; each holds its own means and scale indices, and the two over the same
 *   channels share their symbols
 */
export async function runPasses(
  model: Model,
  z: Int16Array,
  quality: number,
  { height, width }: Size,
  codePass: CodePass,
  pause: Pause,
): Promise<PassData[]> {
  const { M, Z, C, X } = model.manifest.sizes;
  const low = C || M;
  const [first, ...later] = passesOf(M, C);
  const leave = roundedRowAt(model.matrix("level.leave"), quality);
  const leaveOf = (begin: number, end: number) =>
    Float32Array.from([...leave.subarray(begin, end), ...leave.subarray(M + begin, M + end)]);
  const lowShape = [1, low, height, width];

  const hyper = await model.run("hyper", {
    z: tensor(new Float32Array(z), 1, Z, Math.ceil(height / 4), Math.ceil(width / 4)),
    enter: tensor(roundedRowAt(model.matrix("level.enter"), quality), X),
    leave: tensor(leaveOf(0, low), 2 * low),
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
    leave: tensor(leaveOf(C, M), 2 * (M - C)),
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
