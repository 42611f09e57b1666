/** lapic in the browser: `decode`, `encode` and `info`. The work is done in a Web Worker. */

import { LapicError } from "./error.ts";
import type { Configuration, DecodeOptions, EncodeOptions, Info } from "./types.ts";

export { LapicError };
export type { CallOptions, Configuration, DecodeOptions, EncodeOptions, Info, Metadata, Progress } from "./types.ts";

/** Bytes of a file in any form in which a page has them. */
export type Bytes = ArrayBuffer | ArrayBufferView;

/** Say where the runtime and the models are, before the first call. */
export function configure(_settings: Partial<Configuration>): void {}

/**
 * The picture in a .lapic file, in 8 bits a channel, with alpha.
 *
 * @throws LapicError the file is damaged, too large, or made for a model that this build does not have; an option is out
 *   of range.
 */
export async function decode(_bytes: Bytes, _options: DecodeOptions = {}): Promise<ImageData> {
  throw new LapicError("this build cannot decode");
}

/**
 * The bytes of a .lapic file of a picture, those of `lapic encode --effort 0`.
 *
 * @throws LapicError an option is out of range, or the picture is too large.
 */
export async function encode(_image: ImageData, _options: EncodeOptions = {}): Promise<Uint8Array> {
  throw new LapicError("this build cannot encode");
}

/**
 * What is in a .lapic file, without decoding its tiles; its header's checksum is compared.
 *
 * @throws LapicError the file is damaged or too new.
 */
export async function info(_bytes: Bytes): Promise<Info> {
  throw new LapicError("this build cannot read files");
}
