/** lapic in the browser: `decode`, `encode` and `info`. The work is done in a Web Worker. */

import { Client } from "./client.ts";
import { LapicError } from "./error.ts";
import type { Pixels } from "./picture/planes.ts";
import type { Bytes, Configuration, DecodeOptions, EncodeOptions, Info, Metadata } from "./types.ts";

export { LapicError };
export type { Bytes, CallOptions, Configuration, DecodeOptions, EncodeOptions, Info, Metadata, Progress } from "./types.ts";

const MAX_PIXELS = 268_435_456;
const MAX_THREADS = 8;
const DEFAULT_QUALITY = 50;

const configuration: Configuration = { base: import.meta.url, threads: 0 };
const client = new Client(() => ({ base: new URL(".", configuration.base).href, threads: threadCount() }));

/**
 * Say where the runtime and the models are, and how many threads are used, before the first call.
 *
 * @throws LapicError `base` is no address.
 */
export function configure(settings: Partial<Configuration>): void {
  const { base = configuration.base, threads = configuration.threads } = settings;
  const from = globalThis.document?.baseURI ?? import.meta.url;
  if (!URL.canParse(base, from)) throw new LapicError(`the base ${base} is no address`);
  const folder = new URL(base, from);
  if (settings.base !== undefined && !folder.pathname.endsWith("/")) folder.pathname += "/";
  Object.assign(configuration, { base: folder.href, threads });
}

/**
 * Start the worker and the runtime, so that the first picture is there sooner; no weights are read.
 *
 * @throws LapicError the worker or the runtime cannot be loaded.
 */
export async function prepare(): Promise<void> {
  await client.run({ kind: "prepare" }, {});
}

/**
 * The picture in a .lapic file in sRGB, in 8 bits a channel, with alpha.
 *
 * @throws LapicError the file is damaged, too large, or made for a model that this build does not have; an option is out
 *   of range.
 */
export async function decode(bytes: Bytes, options: DecodeOptions = {}): Promise<ImageData> {
  const { scale = 1, realism = 0, maxPixels = MAX_PIXELS, preview, signal, progress } = options;
  const { colorSpaceConversion: conversion = "default" } = options;
  if (scale !== 1 && scale !== 8) throw new LapicError(`scale ${scale} is not 1 or 8`);
  if (!(realism >= 0 && realism <= 1)) throw new LapicError(`realism ${realism} is outside 0..1`);
  if (conversion !== "default" && conversion !== "none") {
    throw new LapicError(`colorSpaceConversion ${String(conversion)} is not default or none`);
  }
  const job = {
    kind: "decode",
    bytes: octets(bytes),
    scale,
    realism,
    maxPixels,
    preview: Boolean(preview),
    converts: conversion === "default",
  } as const;
  return image(await client.run(job, { signal, progress, preview: preview && ((pixels) => preview(image(pixels))) }));
}

/**
 * The bytes of a .lapic file of a picture, those of `lapic encode --effort 0` in float32; alpha is kept losslessly.
 *
 * @throws LapicError an option is out of range, the model is not there or not for the quality, the picture is too large,
 *   or its colours are neither sRGB nor have a profile.
 */
export async function encode(
  { data, width, height, colorSpace }: ImageData,
  options: EncodeOptions = {},
): Promise<Uint8Array> {
  const { quality = DEFAULT_QUALITY, model, metadata = {}, signal, progress } = options;
  if (!(quality >= 1 && quality <= 100)) throw new LapicError(`quality ${quality} is not in 1..100`);
  if (!(data instanceof Uint8ClampedArray)) throw new LapicError("the picture has no bytes of 8 bits a channel");
  if (![width, height].every((edge) => Number.isInteger(edge) && edge > 0) || data.length !== 4 * width * height) {
    throw new LapicError(`${data.length} bytes are no RGBA picture of ${width} x ${height}`);
  }
  if (colorSpace && colorSpace !== "srgb" && !metadata.icc) {
    throw new LapicError(`the pixels are in ${colorSpace}: give its ICC profile, or read them as sRGB`);
  }
  const pixels = { data: data as Uint8ClampedArray<ArrayBuffer>, width, height };
  const job = { kind: "encode", pixels, quality, model, metadata: metadataOf(metadata) } as const;
  return client.run(job, { signal, progress });
}

/**
 * What is in a .lapic file, without decoding its tiles; its header's checksum is compared.
 *
 * @throws LapicError the file is damaged or too new.
 */
export async function info(bytes: Bytes): Promise<Info> {
  return client.run({ kind: "info", bytes: octets(bytes) }, {});
}

function metadataOf(given: NonNullable<EncodeOptions["metadata"]>): Metadata {
  const content = Object.entries(given).filter(([, bytes]) => bytes !== undefined);
  return Object.fromEntries(content.map(([name, bytes]) => [name, octets(bytes!, `the metadata ${name}`)]));
}

/** The bytes of what is named, without those around a view, in memory that is not shared. */
function octets(bytes: Bytes, what = "a file"): Uint8Array {
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (!ArrayBuffer.isView(bytes))
    throw new LapicError(`the bytes of ${what} are needed, not ${typeof bytes}: read it first`);
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isAll = bytes.buffer instanceof ArrayBuffer && view.length === bytes.buffer.byteLength;
  return isAll ? view : view.slice();
}

function image({ data, width, height }: Pixels): ImageData {
  try {
    return new ImageData(data, width, height);
  } catch {
    throw new LapicError(`this browser has no pictures of ${width} x ${height}: decode at scale 8`);
  }
}

/** Threads need shared memory, which only cross-origin isolated pages have. */
function threadCount(): number {
  if (!globalThis.crossOriginIsolated) return 1;
  return configuration.threads || Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS);
}
