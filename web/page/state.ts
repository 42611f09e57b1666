import type { Info } from "../src/lapic.ts";
import type { Entry } from "./entry.ts";
import type { Peer } from "./peers.ts";
import type { Size } from "./transform.ts";

/** A form of the picture that can be looked at; "faithful" is lapic without realism. */
export type Form = "original" | "lapic" | "faithful" | Peer;

/** What a photo is encoded by: the model that the command would choose, or the one that takes least time. */
export type Encoder = "auto" | "fast";

/** The highest quality that an encoder has. */
export const HIGHEST: Record<Encoder, number> = { auto: 100, fast: 60 };

/** One form of the picture and its file. */
export interface Version {
  bitmap: ImageBitmap;
  file: Blob;
  /** Seconds to encode and to decode, where they were measured. */
  encoding?: number | undefined;
  decoding?: number | undefined;
  /** What lapic decoded it with. */
  realism?: number | undefined;
  /** What it was encoded with and by, and whether a peer's file is no larger than lapic's. */
  quality?: number | undefined;
  encoder?: Encoder | undefined;
  fits?: boolean | undefined;
}

/** What the page shows of the open file. */
export interface State {
  entry: Entry | null;
  size: Size;
  info: Info | null;
  quality: number;
  encoder: Encoder;
  realism: number;
  versions: Map<Form, Version>;
  /** A first look at 1/8 of the size, until the picture is there. */
  preview: ImageBitmap | null;
  /** What is being done, as "encoding"; null when all is done. */
  task: string | null;
  /** Part of the task that is done, null where unknown. */
  done: number | null;
  error: string | null;
}

/** The state before any file is open. */
export function emptyState(): State {
  return {
    entry: null, size: { width: 1, height: 1 }, info: null, quality: 50, encoder: "auto", realism: 0, versions: new Map(),
    preview: null, task: null, done: null, error: null,
  };
}

const NAMES: Record<Form, string> = {
  original: "Original", lapic: "lapic", faithful: "Realism 0", jpeg: "JPEG", webp: "WebP", avif: "AVIF",
};

/** The realism that is decoded with: models without a realistic decoder have none. */
export function realismOf({ info, realism }: State): number {
  return info && !info.realism ? 0 : realism;
}

/** Whether lapic's file is that of the quality and encoder that are asked for. */
export function hasFile({ entry, quality, encoder, versions }: State): boolean {
  const lapic = versions.get("lapic");
  return lapic !== undefined && (entry!.isLapic || (lapic.quality === quality && lapic.encoder === encoder));
}

/** Whether lapic's picture is that of the quality and realism that are asked for. */
export function hasPicture(state: State): boolean {
  return hasFile(state) && state.versions.get("lapic")!.realism === realismOf(state);
}

/** What people call a form. Of a .lapic file the forms differ by their realism. */
export function nameOf(form: Form, state: State): string {
  const realism = realismOf(state);
  return form === "lapic" && state.entry?.isLapic && realism > 0 ? `Realism ${realism}` : NAMES[form];
}

/** The forms that the open file can have. */
export function formsOf(state: State): Form[] {
  if (!state.entry) return [];
  if (!state.entry.isLapic) return ["original", "lapic", "jpeg", "webp", "avif"];
  return realismOf(state) > 0 ? ["faithful", "lapic"] : ["lapic"];
}
