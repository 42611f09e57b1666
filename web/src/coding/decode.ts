/** Decoding: bytes of a file to pixels, piece by piece. */

import { LapicError } from "../error.ts";
import type { Header, LapicFile } from "../format/container.ts";
import type { Model } from "../model/model.ts";
import { blankPixels, writePixels } from "../picture/planes.ts";
import type { Pixels, Planes } from "../picture/planes.ts";
import { readAlpha } from "../picture/png.ts";
import type { Plane } from "../picture/png.ts";
import { LATENT, Rect, pieceEdge } from "../picture/rect.ts";
import { Latents } from "./latents.ts";
import type { Steps } from "./steps.ts";
import { Synthesis } from "./synthesis.ts";
import type { Look } from "./synthesis.ts";

export interface DecodeRequest extends Look {
  /** Called once with the picture at 1/8 of its size before the whole one is made; `scale` is 1 then. */
  preview?: ((pixels: Pixels) => void) | undefined;
  /** Edge in latents of the squares that are synthesised at a time; chosen by the picture's size if not given. */
  piece?: number | undefined;
}

/** Decode a picture. Throws LapicError if its file is damaged. */
export async function decodePicture(
  model: Model,
  file: LapicFile,
  request: DecodeRequest,
  steps: Steps,
): Promise<Pixels> {
  const { header } = file;
  const body = header.chunks.get("alph");
  const alpha = body && (await readAlpha(body, header.width, header.height));
  const run = new Decode(model, file, request, alpha, steps);
  if (request.preview && !run.inOnePiece) {
    const small = new Decode(model, file, { scale: 8, realism: 0, piece: request.piece }, alpha, {
      ...steps,
      progress: () => undefined,
    });
    request.preview(await small.pixels());
  }
  return run.pixels();
}

/** One way through all pieces of a picture. */
class Decode {
  private readonly latents: Latents;
  private readonly synthesis: Synthesis;
  private readonly rows: Rect[][];
  private readonly header: Header;
  private readonly request: DecodeRequest;
  private readonly alpha: Plane | undefined;
  private readonly steps: Steps;

  constructor(model: Model, file: LapicFile, request: DecodeRequest, alpha: Plane | undefined, steps: Steps) {
    this.header = file.header;
    this.request = request;
    this.alpha = alpha;
    this.steps = steps;
    this.latents = new Latents(model, file.header, file.tiles, steps);
    this.synthesis = new Synthesis(model, file.header.quality, file.header.chunks.get("filt"), request, steps.pause);
    const { bounds } = this.latents;
    const edge = request.piece ?? pieceEdge(bounds);
    const bands = Array.from({ length: Math.ceil(bounds.height / edge) }, (_, band) =>
      new Rect(band * edge, 0, (band + 1) * edge, bounds.right).grow(0, bounds),
    );
    this.rows = bands.map((band) => band.cut(edge));
  }

  get inOnePiece(): boolean {
    return this.rows.length === 1 && this.rows[0]!.length === 1;
  }

  async pixels(): Promise<Pixels> {
    const { scale, preview } = this.request;
    const { bounds } = this.latents;
    const whole = this.inOnePiece && preview;
    const show = whole ? (planes: Planes) => preview(this.shown(planes, bounds, bounds, 8, undefined)) : undefined;
    const total = this.latents.tileCount + this.rows.flat().length;
    let done = 0;
    let out: Pixels | undefined; // allocated once a tile is decoded: a damaged file with a huge size fails before
    this.latents.onTile = () => this.steps.progress(++done, total);
    for (const [at, row] of this.rows.entries()) {
      const below = this.rows[at + 1]?.[0];
      const nextTop = below ? below.top - this.synthesis.halo : bounds.bottom;
      for (const piece of row) {
        const area = piece.grow(this.synthesis.halo, bounds);
        const latent = await this.latents.region(area, nextTop);
        const planes = await this.synthesis.picture(latent, area, show);
        out = this.shown(planes, area, piece, scale, out);
        this.steps.progress(++done, total);
        await this.steps.pause();
      }
    }
    return out!;
  }

  /** Write a piece of the picture of `area`, both in latents, to the output, which is made if it is not there yet. */
  private shown(planes: Planes, area: Rect, piece: Rect, scale: 1 | 8, before: Pixels | undefined): Pixels {
    const width = Math.ceil(this.header.width / scale);
    const height = Math.ceil(this.header.height / scale);
    const out = before ?? blankPixels(width, height);
    if (!out)
      throw new LapicError(`${width} x ${height} pixels do not fit into this browser's memory: decode at scale 8`);
    const unit = LATENT / scale;
    const part = piece.times(unit).grow(0, new Rect(0, 0, height, width));
    writePixels(planes, area.times(unit), part, this.header.grey, out);
    if (this.alpha) writeAlphaPart(this.alpha, scale, part, out);
    return out;
  }
}

/** Write the alpha of a part of the output, each pixel the mean of those that it stands for. */
function writeAlphaPart(alpha: Plane, scale: number, part: Rect, out: Pixels): void {
  const [across, down] = [alpha.width / out.width, alpha.height / out.height];
  for (let row = part.top; row < part.bottom; row++) {
    for (let column = part.left; column < part.right; column++) {
      out.data[4 * (row * out.width + column) + 3] =
        scale === 1
          ? alpha.data[row * alpha.width + column]!
          : boxMean(alpha, row * down, (row + 1) * down, column * across, (column + 1) * across);
    }
  }
}

/** The mean over rows top..bottom and columns left..right, which may begin and end within a pixel. */
function boxMean({ data, width, height }: Plane, top: number, bottom: number, left: number, right: number): number {
  let sum = 0;
  let weight = 0;
  for (let row = Math.floor(top); row < Math.min(Math.ceil(bottom), height); row++) {
    const tall = Math.min(row + 1, bottom) - Math.max(row, top);
    for (let column = Math.floor(left); column < Math.min(Math.ceil(right), width); column++) {
      const share = tall * (Math.min(column + 1, right) - Math.max(column, left));
      sum += share * data[row * width + column]!;
      weight += share;
    }
  }
  return sum / weight;
}
