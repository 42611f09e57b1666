/** The files that the tests read: golden files, weights and packs. */

import { existsSync, readFileSync, readdirSync } from "node:fs";

export const GOLDEN = "../codec/golden";
const WEIGHTS = "../codec/weights";
const PACKS = "dist/packs";

/** Why tests that need packs are skipped, or false. */
export const noPacks = existsSync(`${PACKS}/packs.json`) ? false : "there are no packs: make web";

export function golden(name: string): Uint8Array {
  return new Uint8Array(readFileSync(`${GOLDEN}/${name}`));
}

/** The golden files. */
export function goldenNames(): string[] {
  return readdirSync(GOLDEN).filter((name) => name.endsWith(".lapic"));
}

/** A file below the folder of the packs. */
export async function readPack(name: string): Promise<Uint8Array> {
  return new Uint8Array(readFileSync(`${PACKS}/${name}`));
}

/** Whole numbers of the weights file whose metadata name this model id: docs/FORMAT.md, section 6. */
export function weights(id: string, tensor: string): Int32Array {
  for (const name of readdirSync(WEIGHTS).filter((file) => file.endsWith(".safetensors"))) {
    const data = readFileSync(`${WEIGHTS}/${name}`);
    const length = Number(data.readBigUInt64LE(0));
    const head = JSON.parse(data.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: number[] }>;
    if ((head["__metadata__"] as unknown as { id: string }).id !== id) continue;
    const [begin, end] = head[tensor]!.data_offsets.map((offset) => 8 + length + offset);
    return new Int32Array(new Uint8Array(data.subarray(begin, end)).buffer);
  }
  throw new Error(`there is no model ${id}`);
}
