import assert from "node:assert/strict";
import { test } from "node:test";
import { LapicError } from "../src/error.ts";
import { Writer, concatenated } from "../src/format/bytes.ts";
import { crc32 } from "../src/format/crc32.ts";
import { deflate } from "../src/format/zlib.ts";
import { fillHidden } from "../src/picture/hidden.ts";
import { readAlpha, writeAlpha } from "../src/picture/png.ts";

const WIDTH = 5;
const HEIGHT = 4;
const PLANE = Uint8Array.from({ length: WIDTH * HEIGHT }, (_, at) => ((at * at * 5) % 4) * 40 + (at % 3));

const bigEndian = (value: number) => new Writer().uint(value, 4).done().reverse();

function chunk(kind: string, content: Uint8Array): Uint8Array {
  const body = concatenated([new TextEncoder().encode(kind), content]);
  return concatenated([bigEndian(content.length), body, bigEndian(crc32(body))]);
}

/** A PNG file of 5 x 4 pixels of 8-bit grey with these filtered rows. */
async function png(rows: Uint8Array, interlaced = 0, type = 0): Promise<Uint8Array> {
  const head = concatenated([bigEndian(WIDTH), bigEndian(HEIGHT), Uint8Array.of(8, type, 0, 0, interlaced)]);
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return concatenated([
    signature,
    chunk("IHDR", head),
    chunk("IDAT", await deflate(rows)),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

/** Rows filtered by one of PNG's filters, as its specification defines them. */
function filtered(kind: number): Uint8Array {
  const at = (row: number, column: number) => (row < 0 || column < 0 ? 0 : PLANE[row * WIDTH + column]!);
  const out = [];
  for (let row = 0; row < HEIGHT; row++) {
    out.push(kind);
    for (let column = 0; column < WIDTH; column++) {
      const [a, b, c] = [at(row, column - 1), at(row - 1, column), at(row - 1, column - 1)];
      const nearest = [a, b, c].sort((one, other) => Math.abs(a + b - c - one) - Math.abs(a + b - c - other))[0]!;
      out.push(at(row, column) - [0, a, b, (a + b) >> 1, nearest][kind]!);
    }
  }
  return Uint8Array.from(out);
}

test("alpha channels come back", async () => {
  const body = await writeAlpha({ data: PLANE, height: HEIGHT, width: WIDTH });
  assert.deepEqual((await readAlpha(body, WIDTH, HEIGHT)).data, PLANE);
});

test("every row filter is undone", async () => {
  for (let kind = 0; kind < 5; kind++)
    assert.deepEqual((await readAlpha(await png(filtered(kind)), WIDTH, HEIGHT)).data, PLANE);
});

test("interlaced files are read", async () => {
  const steps = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
  ] as const;
  const rows: number[] = [];
  for (const [left, top, across, down] of steps) {
    for (let row = top; row < HEIGHT && left < WIDTH; row += down) {
      rows.push(0);
      for (let column = left; column < WIDTH; column += across) rows.push(PLANE[row * WIDTH + column]!);
    }
  }
  assert.deepEqual((await readAlpha(await png(Uint8Array.from(rows), 1), WIDTH, HEIGHT)).data, PLANE);
});

test("damaged, other and inflating alpha channels are refused", async () => {
  const whole = await png(filtered(1));
  const refused = (body: Uint8Array, width = WIDTH) =>
    assert.rejects(
      readAlpha(body, width, HEIGHT),
      (error) => error instanceof LapicError && /alpha channel is/.test(error.message),
    );
  await refused(new Uint8Array(0));
  await refused(whole, WIDTH + 1);
  await refused(await png(filtered(1), 0, 2));
  await refused(await png(filtered(1).subarray(0, 7)));
  await refused(await png(new Uint8Array(1000)));
  await refused(await png(filtered(0).map((byte, at) => (at === 0 ? 5 : byte))));
  for (let at = 0; at < whole.length; at += 3) await refused(whole.subarray(0, at));
  await refused(whole.map((byte, at) => (at === 45 ? byte ^ 1 : byte)));
});

test("hidden colours continue those around them", () => {
  const data = new Uint8ClampedArray(4 * 9).fill(255);
  for (let at = 0; at < 9; at++) data.set([10 * (at % 3), 100, 7, at === 4 ? 0 : 255], 4 * at);
  data.set([255, 0, 0], 16);
  fillHidden({ data, width: 3, height: 3 });
  assert.ok(Math.abs(data[16]! - 10) <= 5);
  assert.deepEqual([data[17], data[18], data[19]], [100, 7, 0]);
  const hidden = new Uint8ClampedArray(4 * 4);
  fillHidden({ data: hidden, width: 2, height: 2 });
  assert.deepEqual([...hidden], Array.from({ length: 4 }, () => [128, 128, 128, 0]).flat());
});
