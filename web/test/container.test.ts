import assert from "node:assert/strict";
import { test } from "node:test";
import { LapicError } from "../src/error.ts";
import { Reader, Writer, concatenated } from "../src/format/bytes.ts";
import { readFile, tileGrid, writeFile } from "../src/format/container.ts";
import type { Header } from "../src/format/container.ts";
import { crc32 } from "../src/format/crc32.ts";
import { deflate, inflate } from "../src/format/zlib.ts";
import { golden, goldenNames } from "./files.ts";

const HEAD = 8; // bytes of the signature

/** A file with other bytes in its header, whose checksum is right. */
function signed(head: Uint8Array, payloads = new Uint8Array(0)): Uint8Array {
  const check = new Writer().uint(crc32(head), 4).done();
  return concatenated([golden("pixel-q1.lapic").subarray(0, HEAD), head, check, payloads]);
}

/** The header of pixel-q1.lapic with something changed. */
function pixelHead(change: (head: Uint8Array) => void = () => undefined): Uint8Array {
  const head = golden("pixel-q1.lapic").slice(HEAD, 23);
  change(head);
  return head;
}

/** The header of a file with chunks, given as pairs of type and body, and no tile table. */
function headWithChunks(chunks: [string, Uint8Array][]): Uint8Array {
  const out = new Writer().bytes(pixelHead((head) => (head[5]! |= 4)).subarray(0, 10)).varint(chunks.length);
  for (const [kind, body] of chunks) out.bytes(new TextEncoder().encode(kind)).varint(body.length).bytes(body);
  return out.done();
}

const refused = (data: Uint8Array, message: RegExp, maxPixels?: number) =>
  assert.rejects(readFile(data, maxPixels), (error) => error instanceof LapicError && message.test(error.message));

test("crc32 is that of zlib", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  const bytes = Uint8Array.from({ length: 1000 }, (_, at) => at * 7);
  assert.equal(crc32(bytes.subarray(333), crc32(bytes.subarray(0, 333))), crc32(bytes));
});

test("varints are read and written up to their largest value", () => {
  for (const value of [0, 127, 128, 300, 2 ** 24, 2 ** 32 - 1]) {
    const reader = new Reader(new Writer().varint(value).done());
    assert.equal(reader.varint(), value);
    assert.equal(reader.left, 0);
  }
  const overlong = (bytes: number[]) => () => new Reader(Uint8Array.from(bytes)).varint();
  assert.throws(overlong([0x80, 0]), /shortest form/);
  assert.throws(overlong([255, 255, 255, 255, 16]), /larger than 4294967295/);
  assert.throws(overlong([0x80]), /truncated/);
});

test("the file of FORMAT.md, section 11, byte by byte", async () => {
  const { header, tiles, chunkSizes } = await readFile(golden("pixel-q1.lapic"));
  assert.deepEqual(header, {
    width: 1,
    height: 1,
    grey: false,
    quality: 256,
    model: header.model,
    tile: 1024,
    chunks: new Map(),
  });
  assert.deepEqual(tileGrid(header), { rows: 1, columns: 1 });
  assert.equal(tiles[0]!.payload.length, golden("pixel-q1.lapic").length - 27);
  assert.equal(chunkSizes.size, 0);
});

test("what is read of a golden file is written as that file", async () => {
  for (const name of goldenNames()) {
    const { header, tiles } = await readFile(golden(name));
    if ([...header.chunks.keys()].some((kind) => ["iccp", "exif", "xmpd", "QMAP"].includes(kind))) continue; // another deflater
    assert.deepEqual(await writeFile(header, tiles), golden(name), name);
  }
});

test("metadata come back", async () => {
  const { header, tiles } = await readFile(golden("pixel-q1.lapic"));
  const chunks = new Map([
    ["exif", Uint8Array.of(1, 2, 3)],
    ["iccp", new Uint8Array(100000)],
  ]);
  const again: Header = (await readFile(await writeFile({ ...header, chunks }, tiles))).header;
  assert.deepEqual(again.chunks, chunks);
});

test("a quality map has a byte for each place", async () => {
  const { header, tiles } = await readFile(golden("regions-q40.lapic"));
  const places = header.chunks.get("QMAP")!;
  assert.equal(places.length, Math.ceil(header.width / 16) * Math.ceil(header.height / 16));
  for (const map of [places.subarray(1), new Uint8Array(0)]) {
    const damaged = await writeFile({ ...header, chunks: new Map([["QMAP", map]]) }, tiles);
    await refused(damaged, /^the header is damaged: the quality map has \d+ places, not 77$/);
  }
});

test("every truncation of every golden file is refused", async () => {
  for (const name of goldenNames()) {
    const data = golden(name);
    for (let part = 0; part < 40; part++)
      await assert.rejects(readFile(data.subarray(0, Math.floor((part * data.length) / 40))), LapicError);
  }
});

test("foreign, empty, too new, too large and longer files are refused in a sentence", async () => {
  const data = golden("pixel-q1.lapic");
  await refused(new Uint8Array(0), /^not a lapic file: it is empty$/);
  await refused(golden("pixel-q1.lapic.png"), /^not a lapic file$/);
  const strange = golden("regions-q40.lapic");
  strange[Buffer.from(strange).indexOf("QMAP") + 3] = "X".charCodeAt(0);
  await refused(strange, /^chunk b'QMAX' is unknown and critical: a newer lapic may read this file$/);
  await refused(
    signed(pixelHead((head) => (head[0] = 1))),
    /^format version 1 is newer than this program's 0: update lapic$/,
  );
  await refused(golden("photo-q10.lapic"), /^163 x 109 is more than 1000 pixels: raise the limit to decode it$/, 1000);
  await refused(concatenated([data, Uint8Array.of(0)]), /^1 bytes follow the end of the picture$/);
  await refused(
    data.map((byte, at) => (at === 10 ? byte ^ 1 : byte)),
    /checksum does not match/,
  );
});

test("numbers out of range are refused", async () => {
  const changed = (at: number, value: number) => signed(pixelHead((head) => (head[at] = value)));
  await refused(changed(5, 0x42), /^pixel format 2 is unknown/);
  await refused(changed(5, 0x48), /^header flags 0x48 are unknown/);
  await refused(changed(7, 0), /quality 0\.0 is not in 1..100/);
  await refused(changed(7, 101), /quality 101\.0 is not in 1..100/);
  await refused(changed(8, 0), /a picture of 0 x 1 does not fit/);
  const wide = new Writer()
    .bytes(pixelHead().subarray(0, 8))
    .varint(2 ** 24)
    .varint(2 ** 24);
  await refused(signed(wide.done()), /truncated: \d+ tiles cannot fit/);
  const whole = new Writer()
    .bytes(pixelHead((head) => (head[5] = 0xf0)).subarray(0, 8))
    .varint(2 ** 13)
    .varint(2 ** 12);
  await refused(signed(whole.done()), /a tile of 8192 x 4096 has more than 65536 places of 16 x 16 pixels/);
  const thin = new Writer()
    .bytes(pixelHead((head) => (head[5] = 0xf0)).subarray(0, 8))
    .varint(2 ** 20 + 1)
    .varint(1);
  await refused(signed(thin.done()), /a tile of 1048577 x 1 has more than 65536 places/);
});

test("chunks: twice, unknown, critical, damaged, a bomb", async () => {
  const some = Uint8Array.of(1);
  await refused(
    signed(
      headWithChunks([
        ["meek", some],
        ["meek", some],
      ]),
    ),
    /^chunk b'meek' occurs twice$/,
  );
  await refused(signed(headWithChunks([["Evil", some]])), /^chunk b'Evil' is unknown and critical/);
  await refused(signed(headWithChunks([["meek", some]])), /^truncated|^a number/);
  await refused(signed(headWithChunks([["exif", some]])), /^chunk b'exif' is damaged/);
  const bomb = await deflate(new Uint8Array(2 ** 24 + 1));
  await refused(signed(headWithChunks([["xmpd", bomb]])), /^chunk b'xmpd' is larger than 16777216 bytes$/);
});

test("inflate is the inverse of deflate", async () => {
  const content = Uint8Array.from({ length: 70000 }, (_, at) => at * at);
  assert.deepEqual(await inflate(await deflate(content), content.length, "it"), content);
});
