/** Bytes in any form in which a page has them. */
export type Bytes = ArrayBuffer | ArrayBufferView;

/** Called with the parts that are done and the parts in all. */
export type Progress = (done: number, total: number) => void;

/** What every call takes. */
export interface CallOptions {
  /** Ends the call early; its promise is then rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
  progress?: Progress | undefined;
}

export interface DecodeOptions extends CallOptions {
  /** 1 or 8: the picture at 1/scale of its size, rounded up. 1 if not given. */
  scale?: 1 | 8 | undefined;
  /** 0, the picture nearest to the original, to 1, the one that looks most like a photo. 0 if not given. */
  realism?: number | undefined;
  /** Files that declare more pixels are refused; 268435456 if not given. */
  maxPixels?: number | undefined;
  /** Called once with the picture at 1/8 of its size, without realism, before the whole picture is there. */
  preview?: ((image: ImageData) => void) | undefined;
  /**
   * "default" converts colours with an ICC profile to sRGB, as the browser does with any picture; "none" gives the numbers
   * as they stand in the file. "default" if not given.
   */
  colorSpaceConversion?: ColorSpaceConversion | undefined;
}

export interface EncodeOptions extends CallOptions {
  /** 1 (smallest) to 100 (best); 50 if not given. */
  quality?: number | undefined;
  /**
   * The model by its name, such as "fast", which takes less time for more bytes; "eye" and "photo" mean "eye-high" and
   * "photo-high" above quality 60. If not given, the one for photos or that for drawings, as `lapic encode` chooses.
   */
  model?: string | undefined;
  /** The ICC profile of the pixels, and EXIF and XMP data, which the file keeps. */
  metadata?: { [Name in keyof Metadata]: Bytes | undefined } | undefined;
}

/** Metadata as they stand in a file. */
export interface Metadata {
  icc?: Uint8Array | undefined;
  exif?: Uint8Array | undefined;
  xmp?: Uint8Array | undefined;
}

/** What is in a file, as `lapic info` tells it. */
export interface Info {
  width: number;
  height: number;
  /** L, LA, RGB or RGBA. */
  mode: string;
  /** 1 to 100, in steps of 1/256. */
  quality: number;
  /** The id in hexadecimal digits, and the name, null if this build has no such model. */
  model: { id: string; name: string | null };
  formatVersion: number;
  /** Edge of a tile in pixels, 0 for one tile. */
  tile: number;
  tiles: number;
  /** Regions that are better than the rest: their share of the picture, 0 to 1, and their best quality; null if none. */
  regions: { share: number; quality: number } | null;
  /** Bits per pixel of the whole file. */
  bpp: number;
  /** Sizes in bytes: total, header, payload, and those of the chunks by their type. */
  bytes: Record<string, number>;
  metadata: Metadata;
  /** Whether this build can decode the file with a realism above 0. */
  realism: boolean;
}

/** Where the runtime and the models are, and how many threads are used. */
export interface Configuration {
  /** The folder of the worker, the runtime and the packs, which may be relative to the page; this module's if not given. */
  base: string | URL;
  /** 0: one for each processor, at most 8; 1 on pages that are not cross-origin isolated. */
  threads: number;
}
