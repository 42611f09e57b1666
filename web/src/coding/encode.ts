/** Encoding in one pass (effort 0): pixels to the bytes of a file, tile by tile. */

import { LapicError } from "../error.ts";
import { fitsFormat, writeFile } from "../format/container.ts";
import type { Header, Tile } from "../format/container.ts";
import { encodeTile, symbolsCrc } from "../format/tile_coder.ts";
import { nearestLevel } from "../model/levels.ts";
import { floats, tensor } from "../model/model.ts";
import type { Model } from "../model/model.ts";
import { fillHidden } from "../picture/hidden.ts";
import { alphaOf, isGrey, readPixels } from "../picture/planes.ts";
import type { Pixels } from "../picture/planes.ts";
import { everywhere } from "../picture/qualities.ts";
import { writeAlpha } from "../picture/png.ts";
import { Rect, copyShared, latentBounds, pieceEdge, tileEdge } from "../picture/rect.ts";
import { gainsAt } from "./latents.ts";
import { allSymbols, runPasses } from "./passes.ts";
import { quantise } from "./quantise.ts";
import type { Steps } from "./steps.ts";

const TILE = 1024;

export interface EncodeRequest {
  /** Fixed-point, 256..25600. */
  quality: number;
  /** Contents of chunks by their type: iccp, exif, xmpd. */
  chunks: ReadonlyMap<string, Uint8Array>;
}

/** Encode a picture, whose pixels under alpha 0 are changed. Throws LapicError if it cannot be encoded. */
export async function encodePicture(
  model: Model,
  pixels: Pixels,
  request: EncodeRequest,
  steps: Steps,
): Promise<Uint8Array> {
  if (!model.hasGraph("analysis"))
    throw new LapicError(`the pack of the model ${model.manifest.name} is for decoding only`);
  const header = await headerOf(model, pixels, request);
  const bounds = latentBounds(header.width, header.height);
  const edge = tileEdge(TILE, bounds);
  const rects = bounds.cut(edge);
  const tiles = new Map<string, Tile>();
  const keyOf = (rect: Rect) => `${rect.top},${rect.left}`;
  const piece =
    pieceEdge(bounds) >= Math.max(bounds.height, bounds.width) ? Math.max(bounds.height, bounds.width, edge) : edge;
  for (const pieceRect of bounds.cut(piece)) {
    const area = pieceRect.grow(model.manifest.halo.analysis, bounds);
    const planes = readPixels(pixels, area);
    const y = floats(
      await model.run("analysis", { picture: tensor(planes.values, 1, 3, planes.height, planes.width) }),
      "y",
    );
    await steps.pause();
    for (const rect of pieceRect.cut(edge)) {
      tiles.set(keyOf(rect), await codeTile(model, header.quality, y, area, rect, steps));
      steps.progress(tiles.size, rects.length);
    }
  }
  return writeFile(
    header,
    rects.map((rect) => tiles.get(keyOf(rect))!),
  );
}

async function headerOf(model: Model, pixels: Pixels, { quality, chunks }: EncodeRequest): Promise<Header> {
  const { width, height } = pixels;
  if (!fitsFormat(width, height)) throw new LapicError(`a picture of ${width} x ${height} does not fit the format`);
  const all = new Map(chunks);
  const alpha = alphaOf(pixels);
  if (alpha.data.some((value) => value < 255)) {
    all.set("alph", await writeAlpha(alpha));
    fillHidden(pixels);
  }
  const grey = isGrey(pixels);
  if (grey) all.set("mode", Uint8Array.of(1));
  return { width, height, grey, quality, model: model.manifest.model, tile: TILE, chunks: all };
}

/** Quantise and code one tile of the latents y of `area`. */
async function codeTile(
  model: Model,
  quality: number,
  y: Float32Array,
  area: Rect,
  rect: Rect,
  steps: Steps,
): Promise<Tile> {
  const { M, L } = model.manifest.sizes;
  const places = rect.height * rect.width;
  const gained = new Float32Array(M * places);
  copyShared(y, area, gained, rect, M);
  const qualities = everywhere(quality);
  const gain = gainsAt(model, qualities).values;
  for (let at = 0; at < gained.length; at++) gained[at]! *= gain[Math.floor(at / places)]!;
  const padded = { height: 4 * Math.ceil(rect.height / 4), width: 4 * Math.ceil(rect.width / 4) };
  const grown = tensor(extended(gained, rect, padded, M), 1, M, padded.height, padded.width);
  const z = new Int16Array(floats(await model.run("hyper-analysis", { gained: grown }), "z"));
  await steps.pause();
  const threshold = model.matrix("threshold").values as Float32Array;
  const passes = await runPasses(
    model,
    z,
    qualities,
    rect,
    (data) => quantise(data, gained, threshold, rect),
    steps.pause,
  );
  const coded = passes.map(({ pass, index, symbols }) => ({ symbols, index, parity: pass.parity }));
  const payload = encodeTile(model.tables, nearestLevel(L, quality), z, coded, rect.height, rect.width);
  return { payload, crc: symbolsCrc(z, allSymbols(passes)) };
}

/** Repeat the right and lower edges of an array (channels, h, w) up to a larger size. */
function extended(
  values: Float32Array,
  size: Rect,
  larger: { height: number; width: number },
  channels: number,
): Float32Array {
  const out = new Float32Array(channels * larger.height * larger.width);
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < larger.height; row++) {
      const from = (channel * size.height + Math.min(row, size.height - 1)) * size.width;
      const to = (channel * larger.height + row) * larger.width;
      out.set(values.subarray(from, from + size.width), to);
      out.fill(values[from + size.width - 1]!, to + size.width, to + larger.width);
    }
  }
  return out;
}
