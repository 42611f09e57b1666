/** The page's side of the worker: jobs in a queue, one at a time, each in its order. */

import { LapicError } from "./error.ts";
import type { Job, Reply, Request, Results, Setup } from "./messages.ts";
import type { Pixels } from "./picture/planes.ts";

/** What a caller hears of its job. */
export interface Listener {
  signal?: AbortSignal | undefined;
  progress?: ((done: number, total: number) => void) | undefined;
  preview?: ((pixels: Pixels) => void) | undefined;
}

interface Waiting {
  id: number;
  job: Job;
  listener: Listener;
  resolve: (result: Results[keyof Results]) => void;
  reject: (reason: unknown) => void;
}

export class Client {
  private worker: Worker | undefined;
  private queue: Waiting[] = [];
  private running: Waiting | undefined;
  private count = 0;
  private readonly setup: () => Setup;

  /** @param setup asked when a worker is started */
  constructor(setup: () => Setup) {
    this.setup = setup;
  }

  /** Do a job after those before it. Rejects with LapicError, or with the signal's reason. */
  run<Kind extends Job["kind"]>(job: Job & { kind: Kind }, listener: Listener): Promise<Results[Kind]> {
    const { signal } = listener;
    return new Promise<Results[Kind]>((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = () => this.cancel(waiting, signal?.reason);
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener("abort", abort);
          then(value);
        };
      const waiting: Waiting = {
        id: ++this.count,
        job,
        listener,
        resolve: settle((result) => resolve(result as Results[Kind])),
        reject: settle(reject),
      };
      signal?.addEventListener("abort", abort);
      this.queue.push(waiting);
      this.next();
    });
  }

  /** Reject a job at once; if it runs, its worker ends it at its next step. */
  private cancel(waiting: Waiting, reason: unknown): void {
    if (waiting === this.running) this.post({ id: waiting.id, cancel: true });
    this.queue = this.queue.filter((other) => other !== waiting);
    waiting.listener = {};
    waiting.reject(reason);
  }

  private next(): void {
    if (this.running) return;
    this.running = this.queue.shift();
    if (this.running) this.post({ id: this.running.id, job: this.running.job, setup: this.setup() });
  }

  private post(request: Request): void {
    try {
      this.worker ??= this.start();
    } catch (error) {
      const reason = globalThis.Worker ? "the worker of lapic cannot be started" : "a browser is needed";
      this.fail(`${reason}: ${(error as Error).message}`, true);
      return;
    }
    try {
      this.worker.postMessage(request);
    } catch (error) {
      this.fail(`the picture does not fit into this browser's memory: ${(error as Error).message}`, true);
    }
  }

  private start(): Worker {
    const worker = new Worker(new URL("lapic-worker.js", this.setup().base), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.fail(`the worker of lapic ended: ${event.message || "it cannot be loaded"}`, true);
    };
    return worker;
  }

  private hear(reply: Reply): void {
    const { running } = this;
    if (!running || reply.id !== running.id) return;
    if (reply.kind === "progress") running.listener.progress?.(reply.done, reply.total);
    else if (reply.kind === "preview") running.listener.preview?.(reply.pixels);
    else if (reply.kind === "failed") this.fail(reply.message, reply.broken);
    else {
      this.running = undefined;
      running.resolve(reply.result);
      this.next();
    }
  }

  /** End the running job with a sentence, and its worker if it is broken. */
  private fail(message: string, broken: boolean): void {
    if (broken) {
      this.worker?.terminate();
      this.worker = undefined;
    }
    const { running } = this;
    this.running = undefined;
    running?.reject(new LapicError(message));
    this.next();
  }
}
