import { PageError } from "./sentence.ts";
import { encodePhoto, pixelsOf } from "./photo.ts";
import { largestWithin } from "./search.ts";

export type Peer = "jpeg" | "webp" | "avif";

/** A picture coded by another codec. */
export interface PeerFile {
  blob: Blob;
  quality: number;
  /** Seconds that encoding took at this quality. */
  seconds: number;
  /** Whether it has at most the bytes that were asked for; if not it is the smallest that the codec makes. */
  fits: boolean;
}

const HIGHEST: Record<Peer, number> = { jpeg: 100, webp: 99, avif: 99 }; // 100 would be lossless WebP and AVIF

/**
 * The picture by another codec, at the highest quality whose file has at most `bytes`.
 *
 * @throws PageError this browser cannot write the format.
 */
export async function fitPeer(peer: Peer, bitmap: ImageBitmap, bytes: number, signal: AbortSignal): Promise<PeerFile> {
  const coder = peer === "avif" ? new AvifCoder(pixelsOf(bitmap)) : null;
  try {
    const encode = async (quality: number): Promise<PeerFile> => {
      signal.throwIfAborted();
      const start = performance.now();
      const blob = coder ? await coder.encode(quality, signal) : await encodePhoto(bitmap, `image/${peer}`, quality / 100);
      return { blob, quality, seconds: (performance.now() - start) / 1000, fits: blob.size <= bytes };
    };
    return await largestWithin(encode, bytes, 0, HIGHEST[peer]);
  } finally {
    coder?.close();
  }
}

/** AVIF of one picture, by libaom in a worker. */
class AvifCoder {
  private readonly worker = new Worker(new URL("./avif-worker.js", import.meta.url), { type: "module" });

  constructor(pixels: ImageData) {
    this.worker.postMessage({ pixels }, [pixels.data.buffer]);
  }

  encode(quality: number, signal: AbortSignal): Promise<Blob> {
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      this.worker.onerror = () => reject(new PageError("the AVIF encoder cannot be loaded"));
      this.worker.onmessage = ({ data }: MessageEvent<{ file?: ArrayBuffer; error?: string }>) => {
        if (data.file) resolve(new Blob([data.file], { type: "image/avif" }));
        else reject(new PageError(`AVIF: ${data.error}`));
      };
      this.worker.postMessage({ quality });
    });
  }

  close(): void {
    this.worker.terminate();
  }
}
