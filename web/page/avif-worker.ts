/** Encodes one picture as AVIF: first it gets `{ pixels }`, then `{ quality }` for each file. */

import createEncoder from "@jsquash/avif/codec/enc/avif_enc.js";
import { defaultOptions } from "@jsquash/avif/meta.js";

interface Order {
  pixels?: ImageData;
  quality?: number;
}

const encoder = createEncoder({ noInitialRun: true, locateFile: (name: string) => new URL(name, import.meta.url).href });
let pixels: ImageData;

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  if (data.pixels) pixels = data.pixels;
  if (data.quality === undefined) return;
  try {
    const bytes = new Uint8Array(pixels.data.buffer);
    const file = (await encoder).encode(bytes, pixels.width, pixels.height, { ...defaultOptions, quality: data.quality });
    if (!file) throw new Error("the encoder fails");
    const copy = file.slice().buffer;
    self.postMessage({ file: copy }, { transfer: [copy] });
  } catch (error) {
    self.postMessage({ error: error instanceof Error ? error.message : String(error) });
  }
};
