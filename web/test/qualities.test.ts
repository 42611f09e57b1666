import assert from "node:assert/strict";
import { test } from "node:test";
import { rowAt, rowsAt } from "../src/model/levels.ts";
import { coarser, everywhere, partOf, qualitiesOf } from "../src/picture/qualities.ts";
import { Rect } from "../src/picture/rect.ts";

const plain = { width: 90, height: 40, grey: false, quality: 99.5 * 256, model: "", tile: 0, chunks: new Map() };

test("a map moves the file's quality by whole qualities, within 1 to 100", () => {
  assert.deepEqual(qualitiesOf(plain), everywhere(99.5 * 256));
  const map = Uint8Array.from({ length: 18 }, (_, at) => [0, 1, 255, 156][at % 4]!); // 0, 1, -1 and -100
  const found = qualitiesOf({ ...plain, chunks: new Map([["QMAP", map]]) });
  assert.deepEqual([found.height, found.width], [3, 6]);
  assert.deepEqual([...found.values.slice(0, 4)], [99.5 * 256, 100 * 256, 98.5 * 256, 256]);
});

test("parts of a map, and means of squares that are rounded down", () => {
  const map = { values: Int32Array.from({ length: 30 }, (_, at) => 256 + at * at), height: 5, width: 6 };
  const part = partOf(map, new Rect(1, 2, 3, 5));
  assert.deepEqual({ ...part, values: [...part.values] }, {
    values: [8, 9, 10, 14, 15, 16].map((at) => 256 + at * at),
    height: 2,
    width: 3,
  });
  const mean = (places: number[]) => Math.floor(places.reduce((sum, at) => sum + 256 + at * at, 0) / places.length);
  const square = [0, 1, 2, 3].flatMap((column) => [0, 6, 12, 18].map((row) => row + column));
  const side = [4, 5, 10, 11, 16, 17, 22, 23];
  const found = coarser(map, 4);
  assert.deepEqual([...found.values], [mean(square), mean(side), mean([24, 25, 26, 27]), mean([28, 29])]);
  assert.equal(partOf(everywhere(9000), new Rect(3, 4, 9, 9)).values[0], 9000);
});

test("rows of places are repeated, one for all is not", () => {
  const table = { values: Float32Array.of(0, 5, 99, 104), rows: 2, columns: 2 };
  const qualities = { values: Int32Array.of(256, 512), height: 1, width: 2 };
  const rows = rowsAt(table, qualities, rowAt, 2);
  assert.deepEqual([rows.height, rows.width], [2, 4]);
  assert.deepEqual([...rows.values], [0, 0, 1, 1, 0, 0, 1, 1, 5, 5, 6, 6, 5, 5, 6, 6]);
  assert.deepEqual([...rowsAt(table, everywhere(512), rowAt, 2).values], [1, 6]);
});
