/** The jobs of the worker: what each asks for, by the models of a library. */

import type { LapicFile } from "./format/container.ts";
import { VERSION, QUALITY_ONE, channelsOf, readFile } from "./format/container.ts";
import { decodePicture } from "./coding/decode.ts";
import { encodePicture } from "./coding/encode.ts";
import { roundedHalfToEven } from "./coding/quantise.ts";
import type { Steps } from "./coding/steps.ts";
import type { Library } from "./library.ts";
import type { Job, Results } from "./messages.ts";
import { isDrawn } from "./picture/drawn.ts";
import type { Pixels } from "./picture/planes.ts";
import { toSrgb } from "./picture/profile.ts";
import { regionsOf } from "./picture/qualities.ts";
import type { Info } from "./types.ts";

const CHUNKS = { icc: "iccp", exif: "exif", xmp: "xmpd" } as const;

/** Do a job. Throws LapicError as the functions of the module do. */
export async function perform(
  job: Job,
  library: Library,
  steps: Steps,
  preview: (pixels: Pixels) => void,
): Promise<Results[keyof Results]> {
  switch (job.kind) {
    case "prepare":
      return library.prepare();
    case "info":
      return describe(job.bytes, await readFile(job.bytes), library);
    case "decode": {
      const file = await readFile(job.bytes, job.maxPixels);
      const model = await library.byId(file.header.model);
      const { scale, realism } = job;
      const icc = job.converts ? file.header.chunks.get("iccp") : undefined;
      const shown = async (pixels: Pixels) => (icc ? toSrgb(pixels, icc, file.header.grey, steps.pause) : pixels);
      const show = async (pixels: Pixels) => preview(await shown(pixels));
      const wanted = job.preview && scale === 1 ? show : undefined;
      return shown(await decodePicture(model, file, { scale, realism, preview: wanted }, steps));
    }
    case "encode": {
      const given = Object.entries(CHUNKS).flatMap(([name, kind]) => {
        const content = job.metadata[name as keyof typeof CHUNKS];
        return content?.length ? [[kind, content] as const] : [];
      });
      const model =
        job.model === undefined
          ? await library.forQuality(job.quality, isDrawn(job.pixels) ? "psnr" : "eye")
          : await library.byName(job.model, job.quality);
      const quality = roundedHalfToEven(job.quality * QUALITY_ONE);
      return encodePicture(model, job.pixels, { quality, chunks: new Map(given) }, steps);
    }
  }
}

async function describe(bytes: Uint8Array, { header, tiles, chunkSizes }: LapicFile, library: Library): Promise<Info> {
  const payload = tiles.reduce((sum, tile) => sum + tile.payload.length, 0);
  const chunks = [...chunkSizes.values()].reduce((sum, size) => sum + size, 0);
  const model = (await library.models()).find(({ id }) => id === header.model);
  return {
    width: header.width,
    height: header.height,
    mode: (channelsOf(header) === 3 ? "RGB" : "L") + (header.chunks.has("alph") ? "A" : ""),
    quality: header.quality / QUALITY_ONE,
    model: { id: header.model, name: model?.name ?? null },
    formatVersion: VERSION,
    tile: header.tile,
    tiles: tiles.length,
    regions: regionsOf(header),
    bpp: (8 * bytes.length) / (header.width * header.height),
    bytes: { total: bytes.length, header: bytes.length - payload - chunks, ...Object.fromEntries(chunkSizes), payload },
    metadata: Object.fromEntries(Object.entries(CHUNKS).map(([name, kind]) => [name, header.chunks.get(kind)])),
    realism: model?.realism ?? false,
  };
}
