import assert from "node:assert/strict";
import { test } from "node:test";
import { AnsDecoder, AnsEncoder, Table } from "../src/format/ans.ts";
import { concatenated } from "../src/format/bytes.ts";
import { readFile } from "../src/format/container.ts";
import { passesOf, segments, sortByIndex } from "../src/format/order.ts";
import { readPayload, writePayload } from "../src/format/payload.ts";
import { makeTables } from "../src/format/tables.ts";
import { TileDecoder, encodeTile, symbolsCrc } from "../src/format/tile_coder.ts";
import { golden, weights } from "./files.ts";

const LEVELS = 2;
const CHANNELS = 3;

/** Numbers 0..1 that are the same in every run. */
function noise(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48271) % 0x7fffffff) / 0x7fffffff;
}

/** Counts of at least 1 that sum to 2^24, some large and some small. */
function someCounts(length: number, random: () => number): Int32Array {
  const share = Array.from({ length }, () => random() ** 8);
  const total = share.reduce((sum, value) => sum + value, 0);
  const counts = Int32Array.from(share, (value) => 1 + Math.floor((value / total) * (2 ** 24 - 2 * length)));
  counts[0]! += 2 ** 24 - counts.reduce((sum, count) => sum + count, 0);
  return counts;
}

function someTables(random: () => number) {
  const lengths = Int32Array.from({ length: 64 }, (_, k) => 2 * (1 + (k % 5)) + 2);
  const latent = Int32Array.from([...lengths].flatMap((length) => [...someCounts(length, random)]));
  const hyper = Int32Array.from(Array.from({ length: LEVELS * CHANNELS }, () => [...someCounts(127, random)]).flat());
  return makeTables(hyper, LEVELS, CHANNELS, latent, lengths);
}

test("the first symbols of FORMAT.md's file of one pixel", async () => {
  const { header, tiles } = await readFile(golden("pixel-q1.lapic"));
  const hyper = weights(header.model, "tables.hyper");
  const channels = weights(header.model, "integers.level.enter").length && 96;
  const levels = hyper.length / 127 / channels;
  const lengths = weights(header.model, "tables.lengths");
  const tables = makeTables(hyper, levels, channels, weights(header.model, "tables.latent"), lengths);
  const z = new TileDecoder(tables, tiles[0]!.payload).hyper(0, 1);
  const { readFileSync } = await import("node:fs");
  const row = /z, channel: value of those that are not 0 \| ([^|]+)\|/.exec(
    readFileSync("../docs/FORMAT.md", "utf8"),
  )![1]!;
  const told = new Map(row.split(",").map((entry) => entry.split(":").map(Number) as [number, number]));
  assert.ok(told.size > 3);
  assert.deepEqual(
    [...z],
    Array.from({ length: channels }, (_, channel) => told.get(channel) ?? 0),
  );
});

test("the coder's state is exact where products need 64 bits", () => {
  const random = noise(5);
  const tables = [2, 3, 300].map((length) => new Table(someCounts(length, random)));
  const symbols = Array.from({ length: 20000 }, (_, at) => {
    const table = tables[at % 3]!;
    const q = Math.floor(random() * 2 ** 24);
    return table.begins.findIndex((begin) => begin > q) - 1;
  });
  const encoder = new AnsEncoder();
  let state = 0n;
  const words: number[] = [];
  for (let at = symbols.length - 1; at >= 0; at--) {
    const table = tables[at % 3]!;
    encoder.encode(table, symbols[at]!);
    const count = BigInt(table.counts[symbols[at]!]!);
    if (state >> 40n >= count) {
      words.push(Number(state & 0xffffffffn));
      state >>= 32n;
    }
    state = ((state / count) << 24n) | (BigInt(table.begins[symbols[at]!]!) + (state % count));
  }
  for (; state; state >>= 32n) words.push(Number(state & 0xffffffffn));
  assert.deepEqual([...encoder.finished()], words);
  const decoder = new AnsDecoder(Uint32Array.from(words));
  const out = new Int16Array(symbols.length);
  for (let at = 0; at < out.length; at++) decoder.decode(tables[at % 3]!, 0, out, at, at + 1);
  assert.deepEqual([...out], symbols);
  assert.ok(decoder.empty);
});

test("tiles come back, with escapes, with and without symbols of scale index 0", () => {
  const [height, width, latent, low] = [5, 6, 8, 3];
  for (const [seed, zero] of [
    [1, false],
    [2, true],
  ] as const) {
    const random = noise(seed);
    const tables = someTables(random);
    const z = Int16Array.from({ length: CHANNELS * 4 }, () => Math.floor(random() * 127) - 63);
    const size = (channels: number) => channels * height * width;
    const index = Uint8Array.from({ length: size(latent) }, () => Math.floor(random() * 64));
    const symbols = Int16Array.from({ length: size(latent) }, (_, at) =>
      index[at] === 0 && !zero ? 0 : at % 50 === 7 ? (random() < 0.5 ? -32767 : 3000) : Math.round(random() * 6 - 3),
    );
    const parts = passesOf(latent, low).map(({ begin, end, parity }) => ({
      symbols: symbols.subarray(size(begin), size(end)),
      index: index.subarray(size(begin), size(end)),
      parity,
    }));
    const payload = encodeTile(tables, 1, z, parts, height, width);
    assert.equal(payload[0]! & 1, zero ? 1 : 0);
    const decoder = new TileDecoder(tables, payload);
    assert.deepEqual(decoder.hyper(1, 4), z);
    const found = new Int16Array(symbols.length);
    passesOf(latent, low).forEach(({ begin, end, parity }, at) =>
      decoder.latent(parts[at]!.index, height, width, parity, found.subarray(size(begin), size(end))),
    );
    assert.deepEqual(found, symbols);
    decoder.finish(z, found, symbolsCrc(z, symbols));
    assert.throws(() => decoder.finish(z, found, symbolsCrc(z, symbols) ^ 1), /checksum does not match/);
  }
});

test("escapes that are left over are noticed", () => {
  const tables = someTables(noise(4));
  const z = new Int16Array(CHANNELS);
  const symbols = Int16Array.of(1000, 2);
  const index = Uint8Array.of(9, 9);
  const payload = readPayload(encodeTile(tables, 0, z, [{ symbols, index, parity: null }], 1, 2));
  const finish = (escapes: Uint8Array) => {
    const decoder = new TileDecoder(tables, writePayload({ ...payload, escapes }));
    decoder.hyper(0, 1);
    decoder.latent(index, 1, 2, null, new Int16Array(2));
    decoder.finish(z, symbols, symbolsCrc(z, symbols));
  };
  finish(payload.escapes);
  assert.throws(() => finish(concatenated([payload.escapes, Uint8Array.of(0)])), /checksum does not match/);
  assert.throws(() => finish(new Uint8Array(0)), /checksum does not match/);
});

test("a coder that ran out of words is noticed by z", () => {
  const tables = someTables(noise(3));
  for (const payload of [[0], [1], [0, 1, 0, 0, 0], [2, 0]]) {
    assert.throws(() => new TileDecoder(tables, Uint8Array.from(payload)).hyper(0, 10000), /checksum does not match/);
  }
});

test("payloads that no coder has are refused", () => {
  const read =
    (...bytes: number[]) =>
    () =>
      readPayload(Uint8Array.from(bytes));
  assert.throws(read(8), /tile flags 0x08 are unknown/);
  assert.throws(read(0, 1), /its length is wrong/);
  assert.throws(read(0, 1, 0, 0, 0, 0, 0, 0, 0), /ends with a zero word/);
  assert.throws(read(4, 1), /cannot have 1 lanes/);
  assert.throws(read(4, 2, 255, 255, 255, 255, 15), /truncated/);
  assert.throws(read(4, 2, 0, 0, 9), /longer than its lanes/);
  assert.throws(read(2, 5, 1), /truncated/);
  assert.throws(read(), /truncated/);
});

test("a payload with lanes is taken apart as it was put together", () => {
  const payload = {
    first: 0 as const,
    escapes: Uint8Array.of(1, 2),
    lanes: [Uint32Array.of(7, 2 ** 32 - 1), new Uint32Array(0)],
  };
  assert.deepEqual(readPayload(writePayload(payload)), payload);
});

test("latents are sorted by index, and by place within one", () => {
  const index = Uint8Array.of(2, 0, 1, 2, 1, 1, 0, 2);
  const { places, begins } = sortByIndex(index, 2, 2, null, 1);
  assert.deepEqual([...places], [2, 4, 5, 0, 3, 7]);
  assert.deepEqual([...begins.subarray(0, 5)], [0, 0, 3, 6, 6]);
  assert.deepEqual([...sortByIndex(index, 2, 2, 0, 0).places], [4, 0, 3, 7]);
  assert.deepEqual([...sortByIndex(index, 2, 2, 1, 0).places], [1, 6, 2, 5]);
});

test("lanes share each pass evenly", () => {
  const found = [...segments([0, 4, 4, 10], 3)];
  assert.deepEqual(found, [
    { lane: 0, group: 0, begin: 0, end: 3 },
    { lane: 1, group: 0, begin: 3, end: 4 },
    { lane: 1, group: 2, begin: 4, end: 6 },
    { lane: 2, group: 2, begin: 6, end: 10 },
  ]);
  assert.deepEqual([...segments([0, 1], 4)], [{ lane: 3, group: 0, begin: 0, end: 1 }]);
});
