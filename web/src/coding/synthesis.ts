/** From latents to pictures: synthesis, the picture's filter, realism. */

import * as ort from "onnxruntime-web/wasm";
import { LapicError } from "../error.ts";
import type { Header } from "../format/container.ts";
import { realismRowAt, rowAt, rowsAt } from "../model/levels.ts";
import { floats, rowsTensor, tensor } from "../model/model.ts";
import type { Model, Tensors } from "../model/model.ts";
import { reduce } from "../picture/planes.ts";
import type { Planes } from "../picture/planes.ts";
import { partOf } from "../picture/qualities.ts";
import type { Qualities } from "../picture/qualities.ts";
import type { Rect } from "../picture/rect.ts";
import { readFilter } from "./filter.ts";
import type { Filter } from "./filter.ts";
import type { Pause } from "./steps.ts";

const LEARNED = 80 * 256; // the highest quality that realism is trained for; from there to 100 it fades out
const FADES = 20 * 256;

/** How a picture is made from its latents. */
export interface Look {
  scale: 1 | 8;
  /** 0 to 1. */
  realism: number;
}

/** The linear picture and the last features of a region, as the graph "features" gives them, and its latents. */
export interface Features {
  base: ort.Tensor;
  features: ort.Tensor;
  rect: Rect;
}

/** The synthesis of one picture. */
export class Synthesis {
  /** Latents beyond a piece that the networks see. */
  readonly halo: number;
  private readonly strength: number;
  private readonly model: Model;
  private readonly quality: number;
  private readonly qualities: Qualities;
  private readonly filter: Filter | undefined;
  private readonly look: Look;
  private readonly pause: Pause;

  /** Throws LapicError if the model has no realistic decoder or the filter is damaged. */
  constructor(model: Model, { quality, chunks }: Header, qualities: Qualities, look: Look, pause: Pause) {
    this.model = model;
    this.quality = quality;
    this.qualities = qualities;
    this.look = look;
    this.pause = pause;
    this.strength = look.realism * Math.min(Math.max((100 * 256 - quality) / FADES, 0), 1);
    if (this.strength > 0 && !model.hasGraph("realism")) {
      throw new LapicError(
        `there is no realistic decoder for the model ${model.manifest.name}: decode without realism`,
      );
    }
    const filter = chunks.get("filt");
    this.filter = filter && readFilter(model, filter);
    this.halo = model.manifest.halo.synthesis + (this.strength > 0 ? model.manifest.halo.realism : 0);
  }

  /** What the pictures of a region at 1/8 and at full size share, of its latents y (M, h, w). */
  async features(latent: Float32Array, rect: Rect): Promise<Features> {
    const { M } = this.model.manifest.sizes;
    const found = await this.model.run("features", {
      y: tensor(latent, 1, M, rect.height, rect.width),
      enter_level: this.rows("enter_level", rect),
      up_level: this.rows("up_level", rect),
    });
    await this.pause();
    return { base: found["base"]!, features: found["features"]!, rect };
  }

  /** The picture of a region at 1/8 of its size, without rounding and realism. */
  async eighth({ base, features }: Features): Promise<Planes> {
    const { picture } = await this.model.run("synthesis-8", { base, features });
    return planesOf(await this.filtered(picture!, 8), "filtered");
  }

  /** The picture of a region as it shall look, without rounding. */
  async picture(shared: Features): Promise<Planes> {
    if (this.look.scale === 8 && this.strength === 0) return this.eighth(shared);
    const { D } = this.model.manifest.sizes;
    const { base, features, rect } = shared;
    const level: Tensors = D ? { quarter_level: this.rows("quarter_level", rect) } : {};
    const fine = await this.model.run("synthesis", { base, features, ...level });
    await this.pause();
    let planes = await this.finished(fine["picture"]!, features);
    for (let scale = 1; scale < this.look.scale; scale *= 2) planes = reduce(planes);
    return planes;
  }

  /** A modulation's rows at the qualities of a region's places. */
  private rows(name: string, rect: Rect): ort.Tensor {
    const times = this.model.manifest.spread[name];
    return rowsTensor(rowsAt(this.model.matrix(name), partOf(this.qualities, rect), rowAt, times));
  }

  /** The picture at full size, filtered and made realistic as far as it shall be. */
  private async finished(picture: ort.Tensor, features: ort.Tensor): Promise<Planes> {
    const t = this.strength;
    const fidelity = t === 1 ? { filtered: picture } : await this.filtered(picture, 1);
    await this.pause();
    if (t === 0) return planesOf(fidelity, "filtered");
    const between = t === 1 || !this.filter ? picture : mixed(fidelity["filtered"]!, picture, t);
    const { E, G } = this.model.manifest.sizes;
    const row = (name: string, channels: number) =>
      tensor(
        realismRowAt(this.model.matrix(`realism.${name}`), Math.min(this.quality, LEARNED), this.look.realism),
        1,
        2 * channels,
        1,
        1,
      );
    const out = await this.model.run("realism", {
      picture: between,
      features,
      there_0: row("there.0", E),
      there_1: row("there.1", G),
      back_0: row("back.0", E),
      strength: tensor(Float32Array.of(t), 1),
    });
    await this.pause();
    return planesOf(out, "realistic");
  }

  private async filtered(picture: ort.Tensor, scale: 1 | 8): Promise<Tensors> {
    if (!this.filter) return { filtered: picture };
    return this.model.run("filter", { picture, ...this.filter[scale] });
  }
}

/** a + t (b - a) */
function mixed(a: ort.Tensor, b: ort.Tensor, t: number): ort.Tensor {
  const from = a.data as Float32Array;
  const to = b.data as Float32Array;
  return tensor(
    from.map((value, at) => value + t * (to[at]! - value)),
    ...a.dims,
  );
}

function planesOf(outputs: Tensors, name: string): Planes {
  const [, , height, width] = outputs[name]!.dims;
  return { values: floats(outputs, name), height: height!, width: width! };
}
