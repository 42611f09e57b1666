/** The latents of tiles, decoded when they are needed and freed once they are passed. */

import type { Header, LapicFile, Tile } from "../format/container.ts";
import { TileDecoder } from "../format/tile_coder.ts";
import { nearestLevel, rowAt, rowsAt } from "../model/levels.ts";
import type { Rows } from "../model/levels.ts";
import type { Model } from "../model/model.ts";
import { partOf } from "../picture/qualities.ts";
import type { Qualities } from "../picture/qualities.ts";
import { Rect, copyShared, latentBounds, tileEdge } from "../picture/rect.ts";
import { allSymbols, runPasses } from "./passes.ts";
import type { PassData } from "./passes.ts";
import type { Pause } from "./steps.ts";

const MEAN_ONE = 32;
const DETAIL = 4; // magnitudes 0, 1, 2 and "3 or more" have centroids of their own

/** The integers of a tile. */
export interface TileSymbols {
  /** (Z, ceil(h/4), ceil(w/4)) */
  z: Int16Array;
  passes: PassData[];
}

/** Decode a tile of a rectangle of latents, at the qualities of its places. Throws LapicError if its payload is damaged. */
export async function decodeTile(
  model: Model,
  header: Header,
  tile: Tile,
  rect: Rect,
  qualities: Qualities,
  pause: Pause,
): Promise<TileSymbols> {
  const { height, width } = rect;
  const decoder = new TileDecoder(model.tables, tile.payload);
  const level = nearestLevel(model.manifest.sizes.L, header.quality);
  const z = decoder.hyper(level, Math.ceil(height / 4) * Math.ceil(width / 4));
  const codePass = ({ pass, index, symbols }: PassData) => decoder.latent(index, height, width, pass.parity, symbols);
  const passes = await runPasses(model, z, qualities, rect, codePass, pause);
  decoder.finish(z, allSymbols(passes), tile.crc);
  return { z, passes };
}

/** Quantisation steps for a unit of each latent, at the qualities of places or for all of them. */
export function gainsAt(model: Model, qualities: Qualities): Rows {
  return rowsAt(model.matrix("log_gain"), qualities, (table, quality) => rowAt(table, quality).map(Math.exp));
}

/** What the symbols stand for, (M, h, w): the means and what the centroids add, over the channels' gains. */
export function dequantise(
  model: Model,
  qualities: Qualities,
  passes: readonly PassData[],
  { height, width }: Rect,
): Float32Array {
  const places = height * width;
  const centroid = model.matrix("centroid").values.map(Math.abs);
  const gain = gainsAt(model, qualities).values;
  const out = new Float32Array(model.manifest.sizes.M * places);
  const each = gain.length === out.length; // a gain of each place, not one for all
  for (const { pass, mean, index, symbols } of passes) {
    const step = pass.parity === null ? 1 : 2;
    for (let channel = pass.begin; channel < pass.end; channel++) {
      for (let row = 0; row < height; row++) {
        const begin = (channel - pass.begin) * places + row * width;
        const shift = pass.begin * places;
        for (let at = begin + (step === 2 ? (row + pass.parity!) % 2 : 0); at < begin + width; at += step) {
          const symbol = symbols[at]!;
          const cell = index[at]! * DETAIL + Math.min(Math.abs(symbol), DETAIL - 1);
          const shown = symbol > 0 ? symbol - centroid[cell]! : symbol < 0 ? symbol + centroid[cell]! : 0;
          out[shift + at] = (mean[at]! / MEAN_ONE + shown) / gain[each ? shift + at : channel]!;
        }
      }
    }
  }
  return out;
}

/** The latents of a picture. Rectangles count latents. */
export class Latents {
  private held: { rect: Rect; latent: Float32Array }[] = [];
  private readonly tiles: { rect: Rect; tile: Tile }[];
  private readonly model: Model;
  private readonly header: Header;
  private readonly qualities: Qualities;
  private readonly pause: Pause;
  private readonly onTile: () => Promise<void>;

  /**
   * @param qualities those of the file
   * @param onTile called after each tile
   */
  constructor(
    model: Model,
    { header, tiles }: Pick<LapicFile, "header" | "tiles">,
    qualities: Qualities,
    pause: Pause,
    onTile: () => Promise<void>,
  ) {
    this.model = model;
    this.header = header;
    this.qualities = qualities;
    this.pause = pause;
    this.onTile = onTile;
    const bounds = latentBounds(header.width, header.height);
    this.tiles = bounds.cut(tileEdge(header.tile, bounds)).map((rect, at) => ({ rect, tile: tiles[at]! }));
  }

  /**
   * y of a rectangle, (M, h, w). Rectangles must come in rows from top to bottom, from left to right.
   *
   * @param nextTop the first row of latents that the rectangles of the next row contain
   */
  async region(rect: Rect, nextTop: number): Promise<Float32Array> {
    this.held = this.held.filter((part) => part.rect.bottom > (part.rect.right <= rect.left ? nextTop : rect.top));
    const channels = this.model.manifest.sizes.M;
    for (const { rect: tileRect, tile } of this.tiles) {
      if (!tileRect.overlaps(rect) || this.held.some((part) => part.rect === tileRect)) continue;
      const here = partOf(this.qualities, tileRect);
      const { passes } = await decodeTile(this.model, this.header, tile, tileRect, here, this.pause);
      this.held.push({ rect: tileRect, latent: dequantise(this.model, here, passes, tileRect) });
      await this.onTile();
    }
    const out = new Float32Array(channels * rect.height * rect.width);
    for (const part of this.held) copyShared(part.latent, part.rect, out, rect, channels);
    return out;
  }
}
