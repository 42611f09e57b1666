/** Entropy coding of one tile: symbols <-> payload. docs/FORMAT.md, section 4, specifies it. */

import { LapicError } from "../error.ts";
import { AnsDecoder, AnsEncoder } from "./ans.ts";
import type { Table } from "./ans.ts";
import { Reader, Writer, concatenated } from "./bytes.ts";
import { crc32 } from "./crc32.ts";
import { planes, segments, sortByIndex } from "./order.ts";
import type { Order, Pass } from "./order.ts";
import { readPayload, writePayload } from "./payload.ts";
import type { Payload } from "./payload.ts";
import { halfWidth } from "./tables.ts";
import type { Tables } from "./tables.ts";

export const SYMBOL_MAX = 32767;
export const HYPER_MAX = 63;
const STATE_BITS = 64;
export const MISMATCH = "a tile's checksum does not match: the file is damaged, or this device decodes inexactly";

/** CRC-32 of a tile's symbols: z as signed bytes, then s as little-endian 16-bit integers, each in raster order. */
export function symbolsCrc(z: Int16Array, symbols: Int16Array): number {
  return crc32(
    new Uint8Array(symbols.buffer, symbols.byteOffset, symbols.byteLength),
    crc32(new Uint8Array(new Int8Array(z).buffer)),
  );
}

/** Decodes one tile step by step: `hyper`, then `latent` for each pass, then `finish`. */
export class TileDecoder {
  private readonly payload: Payload;
  private readonly tables: Tables;
  private readonly coders: AnsDecoder[];
  private readonly escapes: Reader;

  constructor(tables: Tables, payload: Uint8Array) {
    this.tables = tables;
    this.payload = readPayload(payload);
    this.coders = this.payload.lanes.map((words) => new AnsDecoder(words));
    this.escapes = new Reader(this.payload.escapes);
  }

  /** The number of lanes. */
  get lanes(): number {
    return this.coders.length;
  }

  /** The hyper-latent z, `places` values for each channel, by the tables of a rate level. */
  hyper(level: number, places: number): Int16Array {
    const tables = this.tables.hyper[level]!;
    const z = new Int16Array(tables.length * places);
    for (const { lane, group, begin, end } of segments(planes(tables.length, places), this.coders.length)) {
      this.coders[lane]!.decode(tables[group]!, HYPER_MAX, z, begin, end);
    }
    const words = this.payload.lanes.reduce((total, lane) => total + lane.length, 0);
    if (information(tables, z, places) > 1.01 * (32 * words + STATE_BITS)) throw new LapicError(MISMATCH);
    return z;
  }

  /**
   * The symbols of a pass, written to `out` at their places.
   *
   * @param index scale indices (channels, height, width) of the pass' channels; `out` has the same shape
   */
  latent(index: Uint8Array, height: number, width: number, parity: Pass["parity"], out: Int16Array): void {
    const { places, begins } = sortByIndex(index, height, width, parity, this.payload.first);
    const values = new Int16Array(places.length);
    for (const { lane, group, begin, end } of segments(begins, this.coders.length)) {
      const table = this.tables.latent[group]!;
      const half = halfWidth(table);
      this.coders[lane]!.decode(table, half, values, begin, end);
      for (let at = begin; at < end; at++) if (values[at] === half + 1) values[at] = this.escaped(half);
    }
    places.forEach((place, at) => (out[place] = values[at]!));
  }

  /** Throw LapicError unless the payload is used up and `crc`, where given, is that of z and of all symbols. */
  finish(z: Int16Array, symbols: Int16Array, crc?: number): void {
    const left = this.escapes.left > 0 || !this.coders.every((coder) => coder.empty);
    if (left || (crc !== undefined && symbolsCrc(z, symbols) !== crc)) throw new LapicError(MISMATCH);
  }

  private escaped(half: number): number {
    try {
      const over = this.escapes.varint(2 * SYMBOL_MAX);
      const magnitude = half + 1 + (over >>> 1);
      if (magnitude <= SYMBOL_MAX) return over & 1 ? -magnitude : magnitude;
    } catch {
      // wrong symbols asked for more escapes than there are
    }
    throw new LapicError(MISMATCH);
  }
}

/** Bits that z takes by the tables. A decoder that ran out of words goes on with nonsense, which is noticed by them. */
function information(tables: readonly Table[], z: Int16Array, places: number): number {
  let bits = 0;
  tables.forEach(({ counts }, channel) => {
    const occurrences = new Uint32Array(counts.length);
    for (let at = channel * places; at < (channel + 1) * places; at++) occurrences[z[at]! + HYPER_MAX]!++;
    occurrences.forEach((times, symbol) => (bits += times && times * (24 - Math.log2(counts[symbol]!))));
  });
  return bits;
}

/** The symbols of a pass and their scale indices, (channels, height, width). */
export interface CodedPass {
  symbols: Int16Array;
  index: Uint8Array;
  parity: Pass["parity"];
}

/**
 * Encode a tile in one lane.
 *
 * @param z the hyper-latent, `places` values for each channel; its tables are those of rate level `level`
 * @param passes in the order of decoding
 */
export function encodeTile(
  tables: Tables,
  level: number,
  z: Int16Array,
  passes: readonly CodedPass[],
  height: number,
  width: number,
): Uint8Array {
  const coder = new AnsEncoder();
  const escapes: Uint8Array[] = [];
  const first = passes.some(({ symbols, index, parity }) => hasAtIndex0(symbols, index, height, width, parity)) ? 0 : 1;
  for (const { symbols, index, parity } of passes.toReversed()) {
    escapes.unshift(encodePass(coder, tables, symbols, sortByIndex(index, height, width, parity, first)));
  }
  const hyper = tables.hyper[level]!;
  const places = z.length / hyper.length;
  for (let at = z.length - 1; at >= 0; at--) coder.encode(hyper[Math.floor(at / places)]!, z[at]! + HYPER_MAX);
  return writePayload({ first, escapes: concatenated(escapes), lanes: [coder.finished()] });
}

/** Encode the symbols of a pass, the last of them first; returns its escapes in the order of decoding. */
function encodePass(coder: AnsEncoder, tables: Tables, symbols: Int16Array, { places, begins }: Order): Uint8Array {
  const escapes: number[] = [];
  for (let group = begins.length - 2; group >= 0; group--) {
    const table = tables.latent[group]!;
    const half = halfWidth(table);
    for (let at = begins[group + 1]! - 1; at >= begins[group]!; at--) {
      const value = symbols[places[at]!]!;
      const over = Math.abs(value) - half - 1;
      if (over >= 0) escapes.push(2 * over + (value < 0 ? 1 : 0));
      coder.encode(table, over >= 0 ? 2 * half + 1 : value + half);
    }
  }
  const out = new Writer();
  for (const value of escapes.reverse()) out.varint(value);
  return out.done();
}

function hasAtIndex0(
  symbols: Int16Array,
  index: Uint8Array,
  height: number,
  width: number,
  parity: Pass["parity"],
): boolean {
  return symbols.some((symbol, at) => {
    if (symbol === 0 || index[at] !== 0) return false;
    return parity === null || ((Math.floor(at / width) % height) + (at % width)) % 2 === parity;
  });
}
