/** Decoding: bytes of a file to pixels, piece by piece. */

import { LapicError } from "../error.ts";
import type { LapicFile } from "../format/container.ts";
import type { Model } from "../model/model.ts";
import { blankPixels, writePixels } from "../picture/planes.ts";
import type { Pixels, Plane, Planes } from "../picture/planes.ts";
import { readAlpha } from "../picture/png.ts";
import { qualitiesOf } from "../picture/qualities.ts";
import type { Qualities } from "../picture/qualities.ts";
import { LATENT, Rect, latentBounds, pieceEdge } from "../picture/rect.ts";
import { Latents } from "./latents.ts";
import type { Steps } from "./steps.ts";
import { Synthesis } from "./synthesis.ts";
import type { Features, Look } from "./synthesis.ts";

export interface DecodeRequest extends Look {
  /** Called once with the picture at 1/8 of its size before the whole one is made; `scale` is 1 then. */
  preview?: ((pixels: Pixels) => Promise<void>) | undefined;
  /** Edge in latents of the squares that are synthesised at a time; chosen by the picture's size if not given. */
  piece?: number | undefined;
}

/** A piece of a picture that is synthesised at a time, and the region, halo included, that it is cut out of. */
interface Piece {
  piece: Rect;
  area: Rect;
  shared: Features;
}

const KEPT = (8 * 2 ** 20) / LATENT ** 2; // latents of pictures whose features are kept after the first look: 30 bytes a pixel

/** Decode a picture. Throws LapicError if its file is damaged. */
export async function decodePicture(
  model: Model,
  file: LapicFile,
  request: DecodeRequest,
  steps: Steps,
): Promise<Pixels> {
  const { width, height, chunks } = file.header;
  const body = chunks.get("alph");
  return new Decode(model, file, request, body && (await readAlpha(body, width, height)), steps).pixels();
}

/** The decoding of one picture. */
class Decode {
  private readonly bounds: Rect;
  private readonly qualities: Qualities;
  private readonly synthesis: Synthesis;
  private readonly rows: Rect[][];
  private readonly model: Model;
  private readonly file: LapicFile;
  private readonly request: DecodeRequest;
  private readonly alpha: Plane | undefined;
  private readonly steps: Steps;
  private done = 0;
  private total = 0;

  constructor(model: Model, file: LapicFile, request: DecodeRequest, alpha: Plane | undefined, steps: Steps) {
    this.model = model;
    this.file = file;
    this.request = request;
    this.alpha = alpha;
    this.steps = steps;
    const { header } = file;
    this.qualities = qualitiesOf(header);
    this.synthesis = new Synthesis(model, header, this.qualities, request, steps.pause);
    this.bounds = latentBounds(header.width, header.height);
    const edge = request.piece ?? pieceEdge(this.bounds);
    const bands = Array.from({ length: Math.ceil(this.bounds.height / edge) }, (_, band) =>
      new Rect(band * edge, 0, (band + 1) * edge, this.bounds.right).grow(0, this.bounds),
    );
    this.rows = bands.map((band) => band.cut(edge));
  }

  async pixels(): Promise<Pixels> {
    const { preview } = this.request;
    const keeps = this.bounds.height * this.bounds.width <= KEPT;
    const passes = preview && !keeps ? 2 : 1;
    this.total = passes * this.file.tiles.length + (preview ? 2 : 1) * this.rows.flat().length;
    if (!preview) return this.whole(this.pieces());
    const kept: Piece[] = [];
    let look: Pixels | undefined;
    for await (const part of this.pieces()) {
      look = this.written(await this.synthesis.eighth(part.shared), part, 8, look);
      if (keeps) kept.push(part);
      await this.step();
    }
    await preview(look!);
    return this.whole(keeps ? kept : this.pieces());
  }

  /** The picture from all its pieces. */
  private async whole(pieces: Iterable<Piece> | AsyncIterable<Piece>): Promise<Pixels> {
    let out: Pixels | undefined;
    for await (const part of pieces) {
      out = this.written(await this.synthesis.picture(part.shared), part, this.request.scale, out);
      await this.step();
    }
    return out!;
  }

  /** All pieces from the left upper to the right lower one. */
  private async *pieces(): AsyncGenerator<Piece> {
    const latents = new Latents(this.model, this.file, this.qualities, this.steps.pause, () => this.step());
    for (const [at, row] of this.rows.entries()) {
      const below = this.rows[at + 1]?.[0];
      const nextTop = below ? below.top - this.synthesis.halo : this.bounds.bottom;
      for (const piece of row) {
        const area = piece.grow(this.synthesis.halo, this.bounds);
        const shared = await this.synthesis.features(await latents.region(area, nextTop), area);
        yield { piece, area, shared };
      }
    }
  }

  private async step(): Promise<void> {
    this.steps.progress(++this.done, this.total);
    await this.steps.pause();
  }

  /** Write a piece at 1/scale to the output, which is made if it is not there yet: a damaged file with a huge size fails
   * before, at its first tile. */
  private written(planes: Planes, { piece, area }: Piece, scale: 1 | 8, before: Pixels | undefined): Pixels {
    const { header } = this.file;
    const width = Math.ceil(header.width / scale);
    const height = Math.ceil(header.height / scale);
    const out = before ?? blankPixels(width, height);
    if (!out)
      throw new LapicError(`${width} x ${height} pixels do not fit into this browser's memory: decode at scale 8`);
    const unit = LATENT / scale;
    const part = piece.times(unit).grow(0, new Rect(0, 0, height, width));
    writePixels(planes, area.times(unit), part, header.grey, out);
    if (this.alpha) writeAlphaPart(this.alpha, scale, part, out);
    return out;
  }
}

/** Write the alpha of a part of the output, each pixel the mean of those that its colours stand for. */
function writeAlphaPart(alpha: Plane, scale: number, part: Rect, out: Pixels): void {
  for (let row = part.top; row < part.bottom; row++) {
    for (let column = part.left; column < part.right; column++) {
      const value =
        scale === 1 ? alpha.data[row * alpha.width + column]! : boxMean(alpha, scale * row, scale * column, scale);
      out.data[4 * (row * out.width + column) + 3] = value;
    }
  }
}

/** The mean of a square of `edge` pixels, as far as there are pixels. */
function boxMean({ data, width, height }: Plane, top: number, left: number, edge: number): number {
  const [bottom, right] = [Math.min(top + edge, height), Math.min(left + edge, width)];
  let sum = 0;
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) sum += data[row * width + column]!;
  }
  return sum / ((bottom - top) * (right - left));
}
