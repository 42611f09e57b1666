/** The worker: does one job after another, and hears in between which are cancelled. */

import * as ort from "onnxruntime-web/wasm";
import { LapicError } from "./error.ts";
import { perform } from "./jobs.ts";
import { Library, fetchFrom } from "./library.ts";
import type { Job, Reply, Request, Results, Setup } from "./messages.ts";

const scope = globalThis as unknown as DedicatedWorkerGlobalScope;
const cancelled = new Set<number>();
let library: Library | undefined;

/** Thrown where a cancelled job ends. */
class Cancelled extends Error {}

scope.onmessage = ({ data }: MessageEvent<Request>) => {
  if ("cancel" in data) cancelled.add(data.id);
  else void run(data.id, data.job, data.setup);
};

async function run(id: number, job: Job, setup: Setup): Promise<void> {
  const say = (reply: Reply, moved: Transferable[] = []) => scope.postMessage(reply, moved);
  const steps = {
    pause: async () => {
      await nextTask();
      if (cancelled.has(id)) throw new Cancelled();
    },
    progress: (done: number, total: number) => say({ id, kind: "progress", done, total }),
  };
  try {
    library ??= start(setup);
    const result = await perform(job, library, steps, (pixels) =>
      say({ id, kind: "preview", pixels }, [pixels.data.buffer]),
    );
    say({ id, kind: "done", result }, buffersOf(result));
  } catch (error) {
    if (!(error instanceof Cancelled)) say({ id, kind: "failed", ...explained(error) });
    else say({ id, kind: "failed", message: "cancelled", broken: false });
  } finally {
    cancelled.delete(id);
  }
}

/** What a result takes along without a copy. */
function buffersOf(result: Results[keyof Results]): Transferable[] {
  if (result instanceof Uint8Array) return [result.buffer as ArrayBuffer];
  return result && "data" in result ? [result.data.buffer] : [];
}

function start({ base, threads }: Setup): Library {
  ort.env.wasm.wasmPaths = base;
  ort.env.wasm.numThreads = threads;
  return new Library(fetchFrom(new URL("packs/", base)));
}

/** One sentence for an error. */
function explained(error: unknown): { message: string; broken: boolean } {
  if (error instanceof LapicError) return { message: error.message, broken: false };
  const text = String((error as Error | undefined)?.message ?? error).split("\n")[0]!;
  const known = SENTENCES.find(([pattern]) => pattern.test(text));
  return { message: known ? known[1](text) : `the picture cannot be computed here: ${text}`, broken: true };
}

/** What the errors of the runtime mean. */
const SENTENCES: [RegExp, (text: string) => string][] = [
  [/no available backend/i, (text) => `the runtime cannot be loaded: ${text}`],
  [/memory|alloc|out of bounds|^\d+$/i, () => "the picture does not fit into this browser's memory: decode at scale 8"],
];

/** Lets messages that have arrived be handled. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(0);
  });
}
