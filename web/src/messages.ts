/** What the page and its worker say to each other. */

import type { Info, Metadata } from "./types.ts";
import type { Pixels } from "./picture/planes.ts";

/** Where the worker finds the runtime and the packs, and with how many threads it works. */
export interface Setup {
  base: string;
  threads: number;
}

export type Job =
  | {
      kind: "decode";
      bytes: Uint8Array;
      scale: 1 | 8;
      realism: number;
      maxPixels: number;
      preview: boolean;
      /** Whether colours with an ICC profile become sRGB. */
      converts: boolean;
    }
  | { kind: "encode"; pixels: Pixels; quality: number; model: string | undefined; metadata: Metadata }
  | { kind: "info"; bytes: Uint8Array }
  | { kind: "prepare" };

/** What a job gives. */
export interface Results {
  decode: Pixels;
  encode: Uint8Array;
  info: Info;
  prepare: undefined;
}

export type Request = { id: number; job: Job; setup: Setup } | { id: number; cancel: true };

export type Reply =
  | { id: number; kind: "progress"; done: number; total: number }
  | { id: number; kind: "preview"; pixels: Pixels }
  | { id: number; kind: "done"; result: Results[keyof Results] }
  /** `broken`: something else than LapicError was thrown, and the worker should not be used again. */
  | { id: number; kind: "failed"; message: string; broken: boolean };
