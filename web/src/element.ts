/** `<lapic-image src="photo.lapic" alt="...">`, which works like `<img>`. Importing this module defines it. */

import { decode, info, LapicError } from "./lapic.ts";

const STYLE = `
:host { display: inline-block; vertical-align: bottom; max-width: 100%; }
:host([hidden]) { display: none; }
canvas { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit; }
canvas[hidden] { display: none; }
`;

/**
 * A picture of a .lapic file. Attributes: `src`, `alt`, `width`, `height` (CSS pixels), `realism` (0 to 1) and `loading`
 * ("lazy" waits until it is near the window). It shows a first look at 1/8 of the size as soon as it can. Events: `load`,
 * and `error`, an ErrorEvent whose `message` is one sentence and whose `error` is the LapicError.
 */
export class LapicImage extends HTMLElement {
  static readonly observedAttributes = ["src", "alt", "width", "height", "realism", "loading"];

  private readonly canvas = document.createElement("canvas");
  private readonly text = document.createElement("span");
  private readonly hints = new CSSStyleSheet();
  private task = new AbortController();
  private watcher: IntersectionObserver | null = null;
  private isQueued = false;
  private bytes: { src: string; data: Uint8Array } | null = null;
  private isComplete = true;
  private settled: Promise<void> = Promise.resolve();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style, this.hints];
    this.canvas.hidden = true;
    root.append(this.canvas, this.text);
  }

  /** The address of the file, absolute. */
  get src(): string {
    const src = this.getAttribute("src");
    return src && URL.canParse(src, this.baseURI) ? new URL(src, this.baseURI).href : (src ?? "");
  }
  set src(value: string) {
    this.setAttribute("src", value);
  }

  get alt(): string {
    return this.getAttribute("alt") ?? "";
  }
  set alt(value: string) {
    this.setAttribute("alt", value);
  }

  /** Width in CSS pixels as it is laid out. */
  get width(): number {
    return Math.round(this.getBoundingClientRect().width);
  }
  set width(value: number) {
    this.setAttribute("width", String(value));
  }

  /** Height in CSS pixels as it is laid out. */
  get height(): number {
    return Math.round(this.getBoundingClientRect().height);
  }
  set height(value: number) {
    this.setAttribute("height", String(value));
  }

  /** 0, the picture nearest to the original, to 1, the one that looks most like a photo. */
  get realism(): number {
    const realism = Number(this.getAttribute("realism") ?? 0);
    return realism >= 0 ? Math.min(1, realism) : 0;
  }
  set realism(value: number) {
    this.setAttribute("realism", String(value));
  }

  /** Width of the picture in pixels, 0 before its header is there. */
  get naturalWidth(): number {
    return this.canvas.hidden ? 0 : this.canvas.width;
  }

  /** Height of the picture in pixels, 0 before its header is there. */
  get naturalHeight(): number {
    return this.canvas.hidden ? 0 : this.canvas.height;
  }

  /** Whether nothing is being loaded: the picture is there, or failed, or no `src` is given. */
  get complete(): boolean {
    return this.isComplete;
  }

  /** Fulfilled when the picture is there. Rejects with the error that `error` tells of. */
  async decode(): Promise<void> {
    await Promise.resolve();
    return this.settled;
  }

  connectedCallback(): void {
    this.queue();
  }

  disconnectedCallback(): void {
    this.stop();
  }

  attributeChangedCallback(name: string): void {
    if (name === "alt") this.showAlt();
    else if (name === "width" || name === "height") this.showSize();
    else this.queue();
  }

  /** Load once after all attributes that are set together. */
  private queue(): void {
    if (this.isQueued) return;
    this.isQueued = true;
    this.isComplete = !this.src;
    queueMicrotask(() => {
      this.isQueued = false;
      if (this.isConnected) this.start();
    });
  }

  private stop(): void {
    this.task.abort();
    this.watcher?.disconnect();
    this.watcher = null;
  }

  private start(): void {
    this.stop();
    this.showAlt();
    if (!this.src) {
      this.bytes = null;
      this.canvas.hidden = true;
      return;
    }
    const { signal } = (this.task = new AbortController());
    this.settled = this.visible().then(() => this.load(signal));
    this.settled.catch(() => {});
  }

  private visible(): Promise<void> {
    if (this.getAttribute("loading") !== "lazy") return Promise.resolve();
    return new Promise((resolve) => {
      this.watcher = new IntersectionObserver(
        (entries) => {
          if (entries.some((entry) => entry.isIntersecting)) resolve();
        },
        { rootMargin: "100%" },
      );
      this.watcher.observe(this);
    });
  }

  private async load(signal: AbortSignal): Promise<void> {
    try {
      const { src, realism } = this;
      const isOther = this.bytes?.src !== src;
      if (isOther) this.bytes = { src, data: await fetchBytes(src, signal) };
      const { data } = this.bytes!;
      if (isOther) this.prepare(await info(data));
      signal.throwIfAborted();
      const preview = isOther ? (image: ImageData) => this.draw(image, signal) : undefined;
      const image = await decode(data, { realism, signal, preview });
      signal.throwIfAborted();
      this.draw(image, signal);
      this.isComplete = true;
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (!signal.aborted) this.fail(error);
      throw error;
    }
  }

  /** Take the size of a picture that is about to be drawn. */
  private prepare({ width, height }: { width: number; height: number }): void {
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.hidden = false;
    this.text.textContent = "";
  }

  private draw(image: ImageData, signal: AbortSignal): void {
    if (signal.aborted) return;
    const context = this.canvas.getContext("2d")!;
    const { width, height } = this.canvas;
    if (image.width === width && image.height === height) {
      context.putImageData(image, 0, 0);
      return;
    }
    const small = new OffscreenCanvas(image.width, image.height);
    small.getContext("2d")!.putImageData(image, 0, 0);
    context.clearRect(0, 0, width, height);
    context.drawImage(small, 0, 0, width, height);
  }

  private fail(error: unknown): void {
    this.bytes = null;
    this.canvas.hidden = true;
    this.text.textContent = this.alt;
    this.isComplete = true;
    const message = error instanceof Error ? error.message : String(error);
    this.dispatchEvent(new ErrorEvent("error", { message, error }));
  }

  private showAlt(): void {
    this.canvas.role = this.getAttribute("alt") === "" ? "presentation" : "img";
    this.canvas.ariaLabel = this.alt || null;
    if (this.text.textContent) this.text.textContent = this.alt;
  }

  /** Attributes are hints, which the page's own rules override, as with `<img>`. */
  private showSize(): void {
    const [width, height] = ["width", "height"].map((name) => Number.parseFloat(this.getAttribute(name) ?? ""));
    const rules = [
      width! >= 0 ? `width: ${width}px;` : "",
      height! >= 0 ? (width! >= 0 ? `aspect-ratio: ${width} / ${height};` : `height: ${height}px;`) : "",
    ];
    this.hints.replaceSync(`:host { ${rules.join(" ")} }`);
  }
}

/** The bytes of a file. Throws LapicError with a sentence that names the file. */
export async function fetchBytes(src: string, signal: AbortSignal): Promise<Uint8Array> {
  if (!URL.canParse(src, document.baseURI)) throw new LapicError(`cannot read ${src}: it is no address`);
  let response: Response;
  try {
    response = await fetch(src, { signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new LapicError(`cannot read ${src}: the server does not answer, or does not allow it`);
  }
  if (!response.ok) throw new LapicError(`cannot read ${src}: the server answers ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

if (!customElements.get("lapic-image")) customElements.define("lapic-image", LapicImage);
