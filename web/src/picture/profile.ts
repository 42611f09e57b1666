/** The colours of a picture with an ICC profile in sRGB, by the browser's own colour management. */

import type { Pixels } from "./planes.ts";
import { writePng } from "./png.ts";
import type { PngType } from "./png.ts";

const BAND = 2 ** 22; // pixels that are converted at a time

/**
 * Convert a picture to sRGB in place; its alpha stays as it is. A profile that the browser cannot use counts as sRGB.
 *
 * @param icc the profile of the picture's numbers
 * @param grey whether the three channels are equal, and the profile may be one of grey
 */
export async function toSrgb(pixels: Pixels, icc: Uint8Array, grey: boolean): Promise<Pixels> {
  const { width, height } = pixels;
  const rows = Math.max(1, Math.floor(BAND / width));
  for (let top = 0; top < height; top += rows) {
    const band = pixels.data.subarray(4 * width * top, 4 * width * Math.min(height, top + rows));
    copyColours(await converted(band, width, icc, grey), band);
  }
  return pixels;
}

/** Rows of pixels as the browser shows an opaque picture file of them. */
async function converted(
  band: Uint8ClampedArray,
  width: number,
  icc: Uint8Array,
  grey: boolean,
): Promise<Uint8ClampedArray> {
  const height = band.length / (4 * width);
  const type: PngType = grey ? "grey" : "rgb";
  const file = await writePng(unfilteredRows(band, width, grey ? 1 : 3), { width, height, type, icc });
  const bitmap = await createImageBitmap(new Blob([file as Uint8Array<ArrayBuffer>]));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
}

/** The first channels of pixels as rows of a PNG file, each behind the number of the filter that changes nothing. */
function unfilteredRows(band: Uint8ClampedArray, width: number, channels: 1 | 3): Uint8Array {
  const height = band.length / (4 * width);
  const out = new Uint8Array(height * (channels * width + 1));
  let to = 0;
  for (let at = 0; at < band.length; at += 4) {
    if (at % (4 * width) === 0) out[to++] = 0;
    for (let channel = 0; channel < channels; channel++) out[to++] = band[at + channel]!;
  }
  return out;
}

function copyColours(from: Uint8ClampedArray, to: Uint8ClampedArray): void {
  for (let at = 0; at < to.length; at += 4) {
    to[at] = from[at]!;
    to[at + 1] = from[at + 1]!;
    to[at + 2] = from[at + 2]!;
  }
}
