/** zlib streams, by the browser's own inflater and deflater. */

import { LapicError } from "../error.ts";
import { concatenated } from "./bytes.ts";

/** What a zlib stream that fills `body` holds, read no further than `limit` bytes; `what` names it in messages. */
export async function inflate(body: Uint8Array, limit: number, what: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = through(body, new DecompressionStream("deflate"));
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw new LapicError(`${what} is damaged: ${String((error as Error).message ?? error).split("\n")[0]}`);
    });
    if (done) return concatenated(parts);
    parts.push(value);
    size += value.length;
    if (size > limit) {
      void reader.cancel().catch(() => undefined);
      throw new LapicError(`${what} is larger than ${limit} bytes`);
    }
  }
}

/** A zlib stream of `content`. */
export async function deflate(content: Uint8Array): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const reader = through(content, new CompressionStream("deflate"));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return concatenated(parts);
    parts.push(value);
  }
}

function through(
  body: Uint8Array,
  stream: CompressionStream | DecompressionStream,
): ReadableStreamDefaultReader<Uint8Array> {
  const source = new ReadableStream<BufferSource>({
    start(controller) {
      if (body.length) controller.enqueue(body as Uint8Array<ArrayBuffer>);
      controller.close();
    },
  });
  return (source.pipeThrough(stream) as ReadableStream<Uint8Array>).getReader();
}
