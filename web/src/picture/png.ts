/** PNG files of 8 bits a channel: the alpha channel in a .lapic file, and pictures with an ICC profile. */

import { LapicError } from "../error.ts";
import { Reader, concatenated } from "../format/bytes.ts";
import { crc32 } from "../format/crc32.ts";
import { deflate, inflate } from "../format/zlib.ts";
import type { Plane } from "./planes.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const UP = 2; // the row filter of alpha channels that are written
const PROFILE_NAME = Uint8Array.of(0x69, 0x63, 0x63, 0, 0); // "icc", its end, and the number of zlib's method
const TYPES = { grey: 0, rgb: 2 } as const; // colour types

/** [first column, first row, columns between, rows between] of the passes of an interlaced file. */
const WHOLE_PASS = [[0, 0, 1, 1]] as const;
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** Read an alpha channel of the size given. Throws LapicError if it is damaged, or another kind of picture. */
export async function readAlpha(body: Uint8Array, width: number, height: number): Promise<Plane> {
  const fail = (what: string): never => {
    throw new LapicError(`the alpha channel is damaged: ${what}`);
  };
  if (SIGNATURE.some((byte, at) => body[at] !== byte)) fail("it is no PNG file");
  const parts = chunks(body, fail);
  const head = parts[0];
  if (head?.kind !== "IHDR" || head.content.length !== 13) return fail("it has no header");
  const view = new DataView(head.content.buffer, head.content.byteOffset, 13);
  const kind = [view.getUint8(8), view.getUint8(9), view.getUint8(10), view.getUint8(11)].join();
  if (view.getUint32(0) !== width || view.getUint32(4) !== height || kind !== "8,0,0,0")
    fail("its size or mode is wrong");
  const passes = view.getUint8(12) === 0 ? WHOLE_PASS : ADAM7;
  const sizes = passes.map(([left, top, across, down]) => ({
    columns: Math.ceil((width - left) / across),
    rows: Math.ceil((height - top) / down),
  }));
  const needed = sizes.reduce(
    (sum, { columns, rows }) => sum + (columns > 0 && rows > 0 ? rows * (columns + 1) : 0),
    0,
  );
  const data = concatenated(parts.filter((part) => part.kind === "IDAT").map((part) => part.content));
  const raw = await inflate(data, needed, "the alpha channel");
  if (raw.length !== needed) fail("it ends early");
  const out = new Uint8Array(width * height);
  let at = 0;
  passes.forEach(([left, top, across, down], pass) => {
    const { columns, rows } = sizes[pass]!;
    if (columns <= 0 || rows <= 0) return;
    const rowsOf = raw.subarray(at, at + rows * (columns + 1));
    at += rowsOf.length;
    unfilter(rowsOf, columns, fail);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        out[(top + row * down) * width + left + column * across] = rowsOf[row * (columns + 1) + 1 + column]!;
      }
    }
  });
  return { data: out, height, width };
}

/** A PNG file of a plane. */
export async function writeAlpha({ data, height, width }: Plane): Promise<Uint8Array> {
  const raw = new Uint8Array(height * (width + 1));
  for (let row = 0; row < height; row++) {
    raw[row * (width + 1)] = UP;
    for (let column = 0; column < width; column++) {
      const at = row * width + column;
      raw[row * (width + 1) + 1 + column] = data[at]! - (row ? data[at - width]! : 0);
    }
  }
  return writePng(raw, { width, height, type: "grey" });
}

export type PngType = keyof typeof TYPES;

/** A PNG file of rows, each a filter's number and its filtered bytes; with an ICC profile if one is given. */
export async function writePng(
  rows: Uint8Array,
  { width, height, type, icc }: { width: number; height: number; type: PngType; icc?: Uint8Array },
): Promise<Uint8Array> {
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8);
  head.setUint8(9, TYPES[type]);
  const body = [
    chunk("IHDR", new Uint8Array(head.buffer)),
    ...(icc ? [chunk("iCCP", concatenated([PROFILE_NAME, await deflate(icc)]))] : []),
    chunk("IDAT", await deflate(rows)),
    chunk("IEND", new Uint8Array(0)),
  ];
  return concatenated([Uint8Array.from(SIGNATURE), ...body]);
}

/** The chunks up to IEND, their checksums compared. */
function chunks(body: Uint8Array, fail: (what: string) => never): { kind: string; content: Uint8Array }[] {
  const reader = new Reader(body);
  reader.take(SIGNATURE.length);
  const out = [];
  for (;;) {
    if (reader.left < 12) fail("it ends early");
    const view = new DataView(body.buffer, body.byteOffset + reader.position);
    const length = view.getUint32(0);
    if (length > reader.left - 12) fail("it ends early");
    const kind = String.fromCharCode(...body.subarray(reader.position + 4, reader.position + 8));
    if (crc32(body.subarray(reader.position + 4, reader.position + 8 + length)) !== view.getUint32(8 + length)) {
      fail("a checksum does not match");
    }
    out.push({ kind, content: body.subarray(reader.position + 8, reader.position + 8 + length) });
    reader.take(12 + length);
    if (kind === "IEND") return out;
  }
}

function chunk(kind: string, content: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + content.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, content.length);
  out.set(
    [...kind].map((letter) => letter.charCodeAt(0)),
    4,
  );
  out.set(content, 8);
  view.setUint32(8 + content.length, crc32(out.subarray(4, 8 + content.length)));
  return out;
}

/** Undo the filters of rows, each a filter's number and `columns` bytes, in place. */
function unfilter(rows: Uint8Array, columns: number, fail: (what: string) => never): void {
  const stride = columns + 1;
  for (let begin = 0; begin < rows.length; begin += stride) {
    const kind = rows[begin]!;
    if (kind > 4) fail("a row's filter is unknown");
    for (let at = begin + 1; at < begin + stride; at++) {
      const left = at > begin + 1 ? rows[at - 1]! : 0;
      const above = begin ? rows[at - stride]! : 0;
      const corner = begin && at > begin + 1 ? rows[at - stride - 1]! : 0;
      rows[at] = rows[at]! + predicted(kind, left, above, corner);
    }
  }
}

function predicted(kind: number, left: number, above: number, corner: number): number {
  if (kind === 1) return left;
  if (kind === 2) return above;
  if (kind === 3) return (left + above) >> 1;
  if (kind === 0) return 0;
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}
