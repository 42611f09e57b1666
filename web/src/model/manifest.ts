/** What pack.json and packs.json say: docs/WEB.md, "The pack". */

import { LapicError } from "../error.ts";

export type Tune = "eye" | "psnr";

/** A model as the list of packs names it. */
export interface Listed {
  /** The model's id in hexadecimal digits. */
  id: string;
  name: string;
  /** The folder of its pack, relative to the list. */
  folder: string;
  /** The lowest and highest quality that the encoder uses it for. */
  qualities: [number, number];
  /** What the encoder uses it for: photos, for the eye, or drawn pictures, for square errors; null for neither. */
  tune: Tune | null;
  realism: boolean;
  encodes: boolean;
}

export interface Manifest {
  pack: number;
  model: string;
  name: string;
  sizes: Record<"M" | "Z" | "C" | "L" | "X" | "A" | "B" | "D" | "E" | "G" | "R", number>;
  /** In latents; that of realism comes on top of that of the synthesis. */
  halo: { synthesis: number; realism: number; analysis: number };
  /** Places of a modulation's input in a row and in a column of each latent, by its name. */
  spread: Record<string, number>;
  files: Record<string, { bytes: number }>;
  arrays: Record<string, { dtype: "int32" | "float32" | "uint8"; shape: number[]; offset: number }>;
}

const PACK_VERSION = 1;

/** The model that a file needs. Throws LapicError if there is none. */
export function findModel(models: readonly Listed[], id: string): Listed {
  const found = models.find((model) => model.id === id);
  if (found) return found;
  const have = models.map((model) => `${model.name} ${model.id}`).join(", ");
  throw new LapicError(`model ${id} is needed and not installed (shipped: ${have}): update lapic`);
}

/** The model that pictures are encoded with at a quality 1 to 100; one of another tune if the build lacks that. */
export function modelFor(models: readonly Listed[], quality: number, tune: Tune): Listed {
  const serving = models
    .filter((model) => model.encodes && quality <= model.qualities[1])
    .sort((a, b) => a.qualities[1] - b.qualities[1]);
  const found = serving.find((model) => model.tune === tune) ?? serving.find((model) => model.tune) ?? serving[0];
  if (!found) throw new LapicError("there is no model to encode with");
  return found;
}

/**
 * The model that a name means to the encoder at a quality 1 to 100: that of the name, or the one with "-high" behind it
 * for higher qualities.
 *
 * @throws LapicError there is none, or it is for other qualities.
 */
export function modelNamed(models: readonly Listed[], name: string, quality: number): Listed {
  const encoding = models.filter((model) => model.encodes);
  const serving = encoding
    .filter((model) => model.name === name || model.name === `${name}-high`)
    .sort((a, b) => a.qualities[1] - b.qualities[1]);
  if (!serving.length) {
    const have = encoding.map((model) => model.name).join(", ");
    throw new LapicError(`there is no model ${name} to encode with (shipped: ${have || "none"})`);
  }
  const low = Math.floor(serving[0]!.qualities[0]); // the range of one with "-high" begins a step above the other's
  const found = serving.find((model) => quality <= model.qualities[1]);
  if (found && quality >= low) return found;
  const high = serving.at(-1)!.qualities[1];
  throw new LapicError(`the model ${name} is for qualities ${low} to ${high}: quality ${quality} needs another`);
}

/** Throw LapicError unless a manifest has a layout that this program knows. */
export function checkManifest(manifest: Manifest): void {
  if (manifest.pack !== PACK_VERSION) {
    throw new LapicError(
      `the pack of the model ${manifest.name} has layout ${manifest.pack}, not ${PACK_VERSION}: build it again`,
    );
  }
}
