import { decode, encode, info } from "../src/lapic.ts";
import type { Entry } from "./entry.ts";
import { fitPeer, type Peer } from "./peers.ts";
import { decodePhoto, pixelsOf } from "./photo.ts";
import { sentence } from "./sentence.ts";
import { emptyState, HIGHEST, nameOf, realismOf, type Encoder, type Form, type State, type Version } from "./state.ts";

const PEERS: readonly Form[] = ["jpeg", "webp", "avif"];

/** A .lapic file, as it was opened or encoded here. */
interface LapicFile {
  blob: Blob;
  /** What it was encoded with, and by what and in how many seconds if it was done here. */
  quality?: number;
  encoder?: Encoder;
  encoding?: number;
}

/** The open file and its versions. One task runs at a time; a newer one ends it. */
export class Session {
  readonly state: State = emptyState();
  private file: LapicFile | null = null;
  private running = new AbortController();

  /**
   * @param changed called after every change of the state.
   * @param wanted the forms that are looked at: others are not computed.
   */
  constructor(
    private readonly changed: () => void,
    private readonly wanted: () => Form[],
  ) {}

  /** Open another file, and close the one before. */
  open(entry: Entry): Promise<void> {
    return this.run(async (signal) => {
      this.close();
      this.set({ entry, task: "reading" });
      if (entry.isLapic) {
        this.file = { blob: entry.blob };
        const facts = await info(await bytesOf(entry.blob));
        signal.throwIfAborted();
        this.file.quality = facts.quality;
        this.set({ info: facts, size: { width: facts.width, height: facts.height } });
      } else {
        const bitmap = await decodePhoto(entry.blob);
        this.put("original", { bitmap, file: entry.blob }, signal);
        const { width, height } = bitmap;
        this.set({ size: { width, height } });
      }
      await this.update(signal);
    });
  }

  /** Encode the photo with another quality, 1 to 100. */
  setQuality(quality: number): void {
    this.set({ quality });
    this.refresh();
  }

  /** Encode the photo by another encoder, with the highest quality that it has if the one before is higher. */
  setEncoder(encoder: Encoder): void {
    this.set({ encoder, quality: Math.min(this.state.quality, HIGHEST[encoder]) });
    this.refresh();
  }

  /** Decode with another realism, 0 to 1. */
  setRealism(realism: number): void {
    this.set({ realism });
    this.refresh();
  }

  /** Compute what is looked at and not there yet. */
  look(): void {
    const { task } = this.state;
    if (!task || task.startsWith("fitting")) this.refresh();
  }

  /** Compute what is missing, unless the file is still being read, or cannot be. */
  private refresh(): void {
    const { info, versions } = this.state;
    if (info || versions.has("original")) void this.run((signal) => this.update(signal));
  }

  private async run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.running.abort();
    const { signal } = (this.running = new AbortController());
    try {
      await work(signal);
      this.set({ task: null, done: null });
    } catch (error) {
      if (signal.aborted) return; // a newer task has begun, and what became of this one is no news
      this.state.preview?.close();
      this.set({ preview: null, task: null, done: null, error: sentence(error) });
    }
  }

  /** Bring all versions up to date with quality, encoder, realism and what is looked at. */
  private async update(signal: AbortSignal): Promise<void> {
    const { entry, state } = this;
    if (!entry) return;
    this.set({ error: null });
    const isMade = this.file?.quality === state.quality && this.file.encoder === state.encoder;
    if (!entry.isLapic && !isMade) await this.encode(signal);
    const realism = realismOf(state);
    if (entry.isLapic && realism > 0) await this.decode("faithful", 0, signal);
    await this.decode("lapic", realism, signal);
    await this.fitAll(signal);
  }

  /** Fit the peers that are looked at and not there yet. One that fails stops no other. */
  private async fitAll(signal: AbortSignal): Promise<void> {
    const failed = new Map<Form, unknown>();
    for (let form = this.missing(failed); form; form = this.missing(failed)) {
      try {
        await this.fit(form, signal);
      } catch (error) {
        signal.throwIfAborted();
        failed.set(form, error);
      }
    }
    for (const error of failed.values()) throw error;
  }

  private get entry(): Entry | null {
    return this.state.entry;
  }

  private async encode(signal: AbortSignal): Promise<void> {
    const { quality, encoder, versions } = this.state;
    const model = encoder === "auto" ? undefined : encoder;
    const pixels = pixelsOf(versions.get("original")!.bitmap);
    this.set({ task: "encoding", done: null });
    const start = performance.now();
    const bytes = await encode(pixels, { quality, model, signal, progress: this.progress(signal) });
    const encoding = secondsSince(start);
    const facts = await info(bytes);
    signal.throwIfAborted();
    this.file = { blob: new Blob([bytes as Uint8Array<ArrayBuffer>]), quality, encoder, encoding };
    this.drop(...PEERS);
    this.set({ info: facts });
  }

  private async decode(form: Form, realism: number, signal: AbortSignal): Promise<void> {
    const { blob, quality, encoder, encoding } = this.file!;
    const before = this.state.versions.get(form);
    if (before?.file === blob && before.realism === realism) return;
    this.set({ task: "decoding", done: null });
    const bytes = await bytesOf(blob);
    const preview = this.state.versions.size ? undefined : (image: ImageData) => void this.preview(image, signal);
    const start = performance.now();
    const image = await decode(bytes, { realism, signal, progress: this.progress(signal), preview });
    const decoding = secondsSince(start);
    const bitmap = await createImageBitmap(image);
    this.put(form, { bitmap, file: blob, quality, encoder, encoding, decoding, realism }, signal);
  }

  private progress(signal: AbortSignal): (done: number, total: number) => void {
    return (done, total) => {
      if (!signal.aborted) this.set({ done: total ? done / total : null });
    };
  }

  private async preview(image: ImageData, signal: AbortSignal): Promise<void> {
    const bitmap = await createImageBitmap(image);
    if (signal.aborted || this.state.versions.size) {
      bitmap.close();
      return;
    }
    this.state.preview?.close();
    this.set({ preview: bitmap });
  }

  private missing(failed: Map<Form, unknown>): Form | undefined {
    const { versions } = this.state;
    const isMissing = (form: Form): boolean => PEERS.includes(form) && !versions.has(form) && !failed.has(form);
    return versions.has("original") ? this.wanted().find(isMissing) : undefined;
  }

  private async fit(form: Form, signal: AbortSignal): Promise<void> {
    const { versions } = this.state;
    this.set({ task: `fitting ${nameOf(form, this.state)}`, done: null });
    const found = await fitPeer(form as Peer, versions.get("original")!.bitmap, this.file!.blob.size, signal);
    const start = performance.now();
    const bitmap = await createImageBitmap(found.blob);
    const { blob: file, seconds: encoding, quality, fits } = found;
    this.put(form, { bitmap, file, encoding, decoding: secondsSince(start), quality, fits }, signal);
  }

  private put(form: Form, version: Version, signal: AbortSignal): void {
    if (signal.aborted) version.bitmap.close();
    signal.throwIfAborted();
    this.drop(form);
    this.state.versions.set(form, version);
    this.state.preview?.close();
    this.set({ preview: null });
  }

  private drop(...forms: Form[]): void {
    for (const form of forms) {
      this.state.versions.get(form)?.bitmap.close();
      this.state.versions.delete(form);
    }
  }

  private close(): void {
    this.drop(...this.state.versions.keys());
    this.state.preview?.close();
    this.file = null;
    const { versions, quality, encoder, realism } = this.state;
    this.set({ ...emptyState(), versions, quality, encoder, realism });
  }

  private set(part: Partial<State>): void {
    Object.assign(this.state, part);
    this.changed();
  }
}

async function bytesOf(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
