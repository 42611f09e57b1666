/** Pictures as float planes and as bytes. */

import type { Rect } from "./rect.ts";
import { LATENT } from "./rect.ts";

/** A picture (3, height, width) in about -1..1: red, green, blue. */
export interface Planes {
  values: Float32Array;
  height: number;
  width: number;
}

/** Pixels of four bytes each, not premultiplied. */
export interface Pixels {
  data: Uint8ClampedArray<ArrayBuffer>;
  height: number;
  width: number;
}

/** Blur with (1, 4, 6, 4, 1)/16 and halve: (3, H, W) -> (3, ceil(H/2), ceil(W/2)), borders repeated. */
export function reduce(planes: Planes): Planes {
  const columns = transposed(halvedRows(planes));
  return transposed(halvedRows(columns));
}

function halvedRows({ values, height, width }: Planes): Planes {
  const kept = Math.ceil(height / 2);
  const out = new Float32Array(3 * kept * width);
  for (let row = 0; row < 3 * kept; row++) {
    const plane = Math.floor(row / kept) * height;
    const begins = [-2, -1, 0, 1, 2].map((shift) => {
      const source = Math.min(Math.max(2 * (row % kept) + shift, 0), height - 1);
      return (plane + source) * width;
    }) as [number, number, number, number, number];
    const [a, b, c, d, e] = begins;
    for (let x = 0; x < width; x++) {
      const edge = values[a + x]! + values[e + x]!;
      const side = values[b + x]! + values[d + x]!;
      out[row * width + x] = (6 * values[c + x]! + 4 * side + edge) / 16;
    }
  }
  return { values: out, height: kept, width };
}

function transposed({ values, height, width }: Planes): Planes {
  const out = new Float32Array(values.length);
  const places = height * width;
  for (let begin = 0; begin < values.length; begin += places) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++)
        out[begin + column * height + row] = values[begin + row * width + column]!;
    }
  }
  return { values: out, height: width, width: height };
}

/**
 * Round a part of a picture to bytes and write it to pixels.
 *
 * @param planes the picture of `area`
 * @param part what is copied, and its place in `out`, both in pixels of the output
 * @param grey the mean of the three channels is taken
 */
export function writePixels(planes: Planes, area: Rect, part: Rect, grey: boolean, out: Pixels): void {
  const { values, width, height } = planes;
  const size = width * height;
  for (let row = part.top; row < part.bottom; row++) {
    let from = (row - area.top) * width + part.left - area.left;
    let to = 4 * (row * out.width + part.left);
    for (let column = part.left; column < part.right; column++, from++, to += 4) {
      let red = values[from]!;
      let green = values[from + size]!;
      let blue = values[from + 2 * size]!;
      if (grey) red = green = blue = (red + green + blue) / 3;
      out.data[to] = 127.5 * (red + 1); // a clamped array rounds halves to the even number
      out.data[to + 1] = 127.5 * (green + 1);
      out.data[to + 2] = 127.5 * (blue + 1);
      out.data[to + 3] = 255;
    }
  }
}

/** The pixels of a rectangle of latents as a picture in -1..1, the border of the whole picture repeated outwards. */
export function readPixels(pixels: Pixels, rect: Rect): Planes {
  const area = rect.times(LATENT);
  const { height, width } = area;
  const values = new Float32Array(3 * height * width);
  for (let row = 0; row < height; row++) {
    const source = 4 * pixels.width * Math.min(area.top + row, pixels.height - 1);
    for (let column = 0; column < width; column++) {
      const from = source + 4 * Math.min(area.left + column, pixels.width - 1);
      const to = row * width + column;
      for (let colour = 0; colour < 3; colour++) {
        values[colour * height * width + to] = Math.fround(pixels.data[from + colour]! / 127.5) - 1;
      }
    }
  }
  return { values, height, width };
}

/** Bytes by row and column. */
export interface Plane {
  data: Uint8Array;
  height: number;
  width: number;
}

/** The alpha channel. */
export function alphaOf({ data, height, width }: Pixels): Plane {
  const out = new Uint8Array(height * width);
  for (let at = 0; at < out.length; at++) out[at] = data[4 * at + 3]!;
  return { data: out, height, width };
}

/** Whether all three channels are equal everywhere. */
export function isGrey({ data }: Pixels): boolean {
  for (let at = 0; at < data.length; at += 4) if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return false;
  return true;
}

/** Memory for a picture, or undefined if there is not enough. */
export function blankPixels(width: number, height: number): Pixels | undefined {
  try {
    return { data: new Uint8ClampedArray(4 * width * height), height, width };
  } catch {
    return undefined;
  }
}
