/** Bytes in sequence: fixed-size fields and LEB128 integers, read with bounds checks. */

import { LapicError } from "../error.ts";

export const UINT32_MAX = 2 ** 32 - 1;

/** A position in a byte string. Every method throws LapicError instead of reading past the end. */
export class Reader {
  readonly data: Uint8Array;
  position = 0;

  constructor(data: Uint8Array) {
    this.data = data;
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.data.length - this.position;
  }

  /** A view of the next `count` bytes. */
  take(count: number): Uint8Array {
    if (count > this.left) {
      throw new LapicError(`truncated: ${count} bytes expected at offset ${this.position}, ${this.left} are there`);
    }
    this.position += count;
    return this.data.subarray(this.position - count, this.position);
  }

  /** A little-endian unsigned integer of `size` bytes, 1 to 4. */
  uint(size: number): number {
    return this.take(size).reduceRight((value, byte) => value * 256 + byte, 0);
  }

  /** An unsigned LEB128 integer in its shortest form, at most `largest`. */
  varint(largest = UINT32_MAX): number {
    for (let value = 0, unit = 1; ; unit *= 128) {
      const byte = this.uint(1);
      value += (byte & 0x7f) * unit;
      if (value > largest || unit > 2 ** 63) {
        throw new LapicError(`a number at offset ${this.position - 1} is larger than ${largest}`);
      }
      if (byte < 0x80) {
        if (byte === 0 && unit > 1) {
          throw new LapicError(`a number at offset ${this.position - 1} is not in its shortest form`);
        }
        return value;
      }
    }
  }
}

/** Bytes that grow at their end. */
export class Writer {
  private parts: Uint8Array[] = [];

  bytes(part: Uint8Array | readonly number[]): this {
    this.parts.push(Uint8Array.from(part));
    return this;
  }

  /** A little-endian unsigned integer of `size` bytes. */
  uint(value: number, size: number): this {
    return this.bytes(Array.from({ length: size }, (_, at) => Math.floor(value / 256 ** at) % 256));
  }

  /** An unsigned LEB128 integer. */
  varint(value: number): this {
    const out = [];
    for (; value >= 0x80; value = Math.floor(value / 128)) out.push((value % 128) | 0x80);
    return this.bytes([...out, value]);
  }

  /** All bytes so far. */
  done(): Uint8Array {
    return concatenated(this.parts);
  }
}

/** Byte strings one after another. */
export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
