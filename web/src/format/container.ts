/** The container: everything in a .lapic file around the entropy-coded tiles. docs/FORMAT.md, section 2, specifies it. */

import { LapicError } from "../error.ts";
import { Reader, Writer, concatenated } from "./bytes.ts";
import { crc32 } from "./crc32.ts";
import { deflate, inflate } from "./zlib.ts";

const SIGNATURE = [0x8c, 0x4c, 0x41, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];
export const VERSION = 0;
const MAX_EDGE = 2 ** 24; // pixels
const MAX_TILE = 2 ** 16; // places; bounds the memory that decoding one tile can take
const MAX_METADATA = 2 ** 24; // bytes of one inflated chunk
const MAX_CHUNKS = 1024;
const WHOLE = 15; // tile code: the picture is one tile
export const QUALITY_ONE = 256; // fixed point of the quality in a file
const PLACE = 16; // edge of a place of the quality map in pixels
const HAS_CHUNKS = 4;
const GREY = 1;

const DEFLATED = new Set(["iccp", "exif", "xmpd", "QMAP"]);
const KNOWN = new Set([...DEFLATED, "alph", "filt", "mode"]);

/** All that is known of a picture before its tiles are decoded. */
export interface Header {
  width: number;
  height: number;
  /** One channel is coded, in place of three. */
  grey: boolean;
  /** Fixed-point: 256 to 25600, quality times 256. */
  quality: number;
  /** The model's id, eight hexadecimal digits. */
  model: string;
  /** Edge of the square tiles in pixels, 64 times a power of two, or 0 for a picture in one tile. */
  tile: number;
  /** The known chunks' (inflated) contents by their type. */
  chunks: Map<string, Uint8Array>;
}

/** One entropy-coded tile: its bytes, and the CRC-32 of the symbols that they decode to. */
export interface Tile {
  payload: Uint8Array;
  crc: number;
}

export interface LapicFile {
  header: Header;
  tiles: Tile[];
  /** The bytes that each chunk takes, by its type. */
  chunkSizes: Map<string, number>;
}

/** Whether the format holds pictures of this size in pixels. */
export function fitsFormat(width: number, height: number): boolean {
  return [width, height].every((edge) => edge >= 1 && edge <= MAX_EDGE);
}

/** Rows and columns of tiles. */
export function tileGrid(header: Header): { rows: number; columns: number } {
  if (!header.tile) return { rows: 1, columns: 1 };
  return { rows: Math.ceil(header.height / header.tile), columns: Math.ceil(header.width / header.tile) };
}

/** Channels of the decoded picture, alpha apart: 1 for a grey one that does not come back as RGB, else 3. */
export function channelsOf(header: Header): 1 | 3 {
  const mode = header.chunks.get("mode");
  return header.grey && !(mode?.length === 1 && mode[0] === 1) ? 1 : 3;
}

/**
 * Take a file apart, checking everything but the payloads; nothing large is allocated before it is checked.
 *
 * @throws LapicError not a lapic file, a newer version, damaged, or larger than `maxPixels`.
 */
export async function readFile(data: Uint8Array, maxPixels = Infinity): Promise<LapicFile> {
  const reader = new Reader(data);
  const { header, chunkSizes } = await readHeader(reader, maxPixels);
  const { rows, columns } = tileGrid(header);
  if (rows * columns * 5 > reader.left) {
    throw new LapicError(`truncated: ${rows * columns} tiles cannot fit into ${reader.left} bytes`);
  }
  const table = Array.from({ length: rows * columns }, () => ({ length: reader.varint(), crc: reader.uint(4) }));
  const head = data.subarray(SIGNATURE.length, reader.position);
  if (reader.uint(4) !== crc32(head)) throw new LapicError("the header is damaged: its checksum does not match");
  const tiles = table.map(({ length, crc }) => ({ payload: reader.take(length), crc }));
  if (reader.left) throw new LapicError(`${reader.left} bytes follow the end of the picture`);
  return { header, tiles, chunkSizes };
}

/** Put a file together. Throws LapicError for metadata that the format cannot hold. */
export async function writeFile(header: Header, tiles: readonly Tile[]): Promise<Uint8Array> {
  const code = header.tile ? Math.log2(header.tile / 64) : WHOLE;
  const flags = (header.grey ? GREY : 0) | (header.chunks.size ? HAS_CHUNKS : 0) | (code << 4);
  const head = new Writer().uint(VERSION, 1).bytes(fromHex(header.model)).uint(flags, 1).uint(header.quality, 2);
  head.varint(header.width).varint(header.height);
  if (header.chunks.size) await writeChunks(head, header.chunks);
  for (const tile of tiles) head.varint(tile.payload.length).uint(tile.crc, 4);
  const bytes = head.done();
  const check = new Writer().uint(crc32(bytes), 4).done();
  return concatenated([Uint8Array.from(SIGNATURE), bytes, check, ...tiles.map((tile) => tile.payload)]);
}

/** Everything before the tile table. */
async function readHeader(
  reader: Reader,
  maxPixels: number,
): Promise<{ header: Header; chunkSizes: Map<string, number> }> {
  if (SIGNATURE.some((byte, at) => reader.data[at] !== byte)) {
    throw new LapicError(reader.data.length ? "not a lapic file" : "not a lapic file: it is empty");
  }
  reader.take(SIGNATURE.length);
  const version = reader.uint(1);
  if (version > VERSION) {
    throw new LapicError(`format version ${version} is newer than this program's ${VERSION}: update lapic`);
  }
  const model = toHex(reader.take(4));
  const flags = reader.uint(1);
  const quality = reader.uint(2);
  const width = reader.varint(MAX_EDGE);
  const height = reader.varint(MAX_EDGE);
  if ((flags & 3) > GREY)
    throw new LapicError(`pixel format ${flags & 3} is unknown: a newer lapic may read this file`);
  if (flags & 8) throw new LapicError(`header flags 0x${flags.toString(16).padStart(2, "0")} are unknown`);
  if (width * height > maxPixels) {
    throw new LapicError(`${width} x ${height} is more than ${maxPixels} pixels: raise the limit to decode it`);
  }
  const { chunks, chunkSizes } =
    flags & HAS_CHUNKS
      ? await readChunks(reader)
      : { chunks: new Map<string, Uint8Array>(), chunkSizes: new Map<string, number>() };
  const tile = flags >> 4 === WHOLE ? 0 : 64 * 2 ** (flags >> 4);
  checkNumbers(width, height, quality, tile);
  checkMap(chunks.get("QMAP"), width, height);
  return { header: { width, height, grey: (flags & 3) === GREY, quality, model, tile, chunks }, chunkSizes };
}

function checkNumbers(width: number, height: number, quality: number, tile: number): void {
  const fail = (what: string): never => {
    throw new LapicError(`the header is damaged: ${what}`);
  };
  if (!fitsFormat(width, height)) fail(`a picture of ${width} x ${height} does not fit the format`);
  if (quality < QUALITY_ONE || quality > 100 * QUALITY_ONE)
    fail(`quality ${asReal(quality / QUALITY_ONE)} is not in 1..100`);
  const rows = Math.min(tile || height, height);
  const columns = Math.min(tile || width, width);
  if (Math.ceil(rows / PLACE) * Math.ceil(columns / PLACE) > MAX_TILE)
    fail(`a tile of ${columns} x ${rows} has more than ${MAX_TILE} places of 16 x 16 pixels`);
}

function checkMap(map: Uint8Array | undefined, width: number, height: number): void {
  const places = Math.ceil(height / PLACE) * Math.ceil(width / PLACE);
  if (map && map.length !== places)
    throw new LapicError(`the header is damaged: the quality map has ${map.length} places, not ${places}`);
}

/** The known chunks' contents, and the bytes that each chunk takes in the file. */
async function readChunks(
  reader: Reader,
): Promise<{ chunks: Map<string, Uint8Array>; chunkSizes: Map<string, number> }> {
  const chunks = new Map<string, Uint8Array>();
  const chunkSizes = new Map<string, number>();
  for (let count = reader.varint(MAX_CHUNKS); count > 0; count--) {
    const begin = reader.position;
    const kind = String.fromCharCode(...reader.take(4));
    const name = `chunk ${quoted(kind)}`;
    if (chunkSizes.has(kind)) throw new LapicError(`${name} occurs twice`);
    const body = reader.take(reader.varint());
    chunkSizes.set(kind, reader.position - begin);
    if (KNOWN.has(kind)) {
      chunks.set(kind, DEFLATED.has(kind) ? await inflate(body, MAX_METADATA, name) : body);
    } else if (kind >= "A" && kind < "[") {
      throw new LapicError(`${name} is unknown and critical: a newer lapic may read this file`);
    }
  }
  return { chunks, chunkSizes };
}

async function writeChunks(head: Writer, chunks: ReadonlyMap<string, Uint8Array>): Promise<void> {
  head.varint(chunks.size);
  for (const [kind, content] of chunks) {
    if (DEFLATED.has(kind) && content.length > MAX_METADATA) {
      throw new LapicError(`${content.length} bytes of metadata ${quoted(kind)} are more than ${MAX_METADATA}`);
    }
    const body = DEFLATED.has(kind) ? await deflate(content) : content;
    head
      .bytes([...kind].map((letter) => letter.charCodeAt(0)))
      .varint(body.length)
      .bytes(body);
  }
}

/** A number as messages show it, with a decimal point. */
function asReal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** A chunk's type as messages show it. */
function quoted(kind: string): string {
  const escaped = [...kind].map((letter) =>
    letter >= " " && letter <= "~" && letter !== "\\"
      ? letter
      : `\\x${letter.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  return `b'${escaped.join("")}'`;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(digits: string): number[] {
  return (digits.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
}
