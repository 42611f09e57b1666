/** The payload of a tile: bytes <-> flags, escapes and the words of its lanes. */

import { LapicError } from "../error.ts";
import { Reader, Writer } from "./bytes.ts";

const CODES_GROUP_0 = 1;
const HAS_ESCAPES = 2;
const HAS_LANES = 4;
const LANES_MAX = 65536;

export interface Payload {
  /** The first scale index whose symbols are coded, 0 or 1. */
  first: 0 | 1;
  escapes: Uint8Array;
  lanes: Uint32Array[];
}

/** Take a payload apart. Throws LapicError if it cannot be any coder's. */
export function readPayload(payload: Uint8Array): Payload {
  const reader = new Reader(payload);
  const flags = reader.uint(1);
  if (flags > (CODES_GROUP_0 | HAS_ESCAPES | HAS_LANES)) {
    throw new LapicError(`tile flags 0x${flags.toString(16).padStart(2, "0")} are unknown`);
  }
  const escapes = flags & HAS_ESCAPES ? reader.take(reader.varint()) : new Uint8Array(0);
  const lanes = flags & HAS_LANES ? readLanes(reader) : [words(reader.take(reader.left))];
  if (reader.left) throw new LapicError("a tile's payload is damaged: it is longer than its lanes");
  return { first: flags & CODES_GROUP_0 ? 0 : 1, escapes, lanes };
}

/** The payload that `readPayload` takes apart. */
export function writePayload({ first, escapes, lanes }: Payload): Uint8Array {
  const several = lanes.length > 1;
  const out = new Writer();
  out.uint((first === 0 ? CODES_GROUP_0 : 0) | (escapes.length ? HAS_ESCAPES : 0) | (several ? HAS_LANES : 0), 1);
  if (escapes.length) out.varint(escapes.length).bytes(escapes);
  if (several) {
    out.varint(lanes.length);
    for (const lane of lanes) out.varint(lane.length);
  }
  for (const lane of lanes) out.bytes(littleEndian(lane));
  return out.done();
}

function readLanes(reader: Reader): Uint32Array[] {
  const count = reader.varint();
  if (count < 2 || count > LANES_MAX)
    throw new LapicError(`a tile's payload is damaged: it cannot have ${count} lanes`);
  const lengths = Array.from({ length: count }, () => reader.varint());
  return lengths.map((length) => words(reader.take(4 * length)));
}

/** A lane's words. */
function words(lane: Uint8Array): Uint32Array {
  if (lane.length % 4) throw new LapicError("a tile's payload is damaged: its length is wrong");
  const view = new DataView(lane.buffer, lane.byteOffset, lane.length);
  const out = Uint32Array.from({ length: lane.length / 4 }, (_, at) => view.getUint32(4 * at, true));
  if (out.length && out[out.length - 1] === 0)
    throw new LapicError("a tile's payload is damaged: it ends with a zero word");
  return out;
}

function littleEndian(lane: Uint32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer(4 * lane.length));
  lane.forEach((word, at) => out.setUint32(4 * at, word, true));
  return new Uint8Array(out.buffer);
}
