/** The colours of a picture with an ICC profile in sRGB, by the browser's own colour management. */

import type { Pause } from "../coding/steps.ts";
import type { Pixels } from "./planes.ts";
import { writePng } from "./png.ts";
import type { PngType } from "./png.ts";
import { Rect } from "./rect.ts";

const EDGE = 2048; // of the squares that are converted at a time: canvases have limits
const CHANNELS = { grey: 1, rgb: 3 } as const;

/**
 * Convert a picture to sRGB in place; its alpha stays as it is. A profile that the browser cannot use counts as sRGB.
 *
 * @param icc the profile of the picture's numbers
 * @param grey whether the three channels are equal, and the profile may be one of grey
 * @param pause called after each part
 */
export async function toSrgb(pixels: Pixels, icc: Uint8Array, grey: boolean, pause: Pause): Promise<Pixels> {
  const type: PngType = grey && colourSpaceOf(icc) === "GRAY" ? "grey" : "rgb";
  for (const part of new Rect(0, 0, pixels.height, pixels.width).cut(EDGE)) {
    const { width, height } = part;
    const rows = unfilteredRows(pixels, part, CHANNELS[type]);
    copyColours(await shownColours(await writePng(rows, { width, height, type, icc }), part), pixels, part);
    await pause();
  }
  return pixels;
}

/** The colour space of the numbers that a profile describes, as "RGB " or "GRAY". */
function colourSpaceOf(icc: Uint8Array): string {
  return String.fromCharCode(...icc.subarray(16, 20));
}

/** The pixels of an opaque picture file as the browser shows them. */
async function shownColours(file: Uint8Array, { width, height }: Rect): Promise<Uint8ClampedArray> {
  const bitmap = await createImageBitmap(new Blob([file as Uint8Array<ArrayBuffer>]));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height).data;
}

/** The first channels of a part as rows of a PNG file, each behind the number of the filter that changes nothing. */
function unfilteredRows({ data, width }: Pixels, part: Rect, channels: 1 | 3): Uint8Array {
  const out = new Uint8Array(part.height * (channels * part.width + 1));
  let to = 0;
  for (let row = part.top; row < part.bottom; row++) {
    out[to++] = 0;
    for (let at = 4 * (row * width + part.left); at < 4 * (row * width + part.right); at += 4) {
      for (let channel = 0; channel < channels; channel++) out[to++] = data[at + channel]!;
    }
  }
  return out;
}

/** Copy the colours of a part's pixels to the picture. */
function copyColours(from: Uint8ClampedArray, { data, width }: Pixels, part: Rect): void {
  let at = 0;
  for (let row = part.top; row < part.bottom; row++) {
    for (let to = 4 * (row * width + part.left); to < 4 * (row * width + part.right); to += 4, at += 4) {
      for (let channel = 0; channel < 3; channel++) data[to + channel] = from[at + channel]!;
    }
  }
}
