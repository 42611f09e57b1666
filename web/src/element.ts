/** `<lapic-image src="photo.lapic" alt="...">`, which works like `<img>`. Importing this module defines it. */

import { decode, info, LapicError } from "./lapic.ts";
import { fetchBytes, realismIn, resize, turnToLoad } from "./showing.ts";

const STYLE = `
:host { display: inline-block; vertical-align: bottom; max-width: 100%; }
:host([hidden]) { display: none; }
canvas { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit; }
canvas[hidden] { display: none; }
`;
const PROPERTIES = ["src", "alt", "width", "height", "realism"] as const;

/**
 * A picture of a .lapic file. Attributes: `src`, `alt`, `width`, `height` (CSS pixels), `realism` (0 to 1) and `loading`
 * ("lazy" waits until it is near the window). It shows a first look at 1/8 of the size as soon as it can. Events: `load`,
 * and `error`, an ErrorEvent whose `message` is one sentence and whose `error` is the LapicError.
 */
export class LapicImage extends HTMLElement {
  static readonly observedAttributes = ["src", "alt", "width", "height", "realism", "loading"];

  private readonly canvas = document.createElement("canvas");
  private readonly text = document.createElement("span");
  private hints!: CSSStyleSheet;
  private task = new AbortController();
  private isQueued = false;
  private file: { src: string; data: Uint8Array } | null = null;
  /** The file whose size the canvas has. */
  private sized: string | null = null;
  /** The file whose whole picture the canvas shows. */
  private drawn: string | null = null;
  private isComplete = true;
  private hasFailed = false;
  private settled: Promise<void> = Promise.resolve();

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).append(this.canvas, this.text);
    this.canvas.hidden = true;
    this.makeSheets(window);
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
    return realismIn(this.getAttribute("realism"));
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

  /**
   * Fulfilled when the picture is there, that of a newer `src` if it changes meanwhile. Rejects with the error that
   * `error` tells of, and if the element has no `src`, or is in no document.
   */
  async decode(): Promise<void> {
    await Promise.resolve();
    if (!this.src) throw new LapicError("there is no picture to decode: src is missing");
    if (!this.isConnected) throw new LapicError("there is no picture to decode: the element is in no document");
    const { settled } = this;
    const isReplaced = () => this.isQueued || settled !== this.settled;
    await settled.catch((error: unknown) => {
      if (!isReplaced()) throw error;
    });
    if (isReplaced()) await this.decode();
  }

  connectedCallback(): void {
    for (const name of PROPERTIES) this.adoptProperty(name);
    if (!this.isComplete || this.drawn !== this.src) this.queue();
  }

  disconnectedCallback(): void {
    this.task.abort();
  }

  /** Style sheets belong to the document that they were made for. */
  adoptedCallback(): void {
    const { defaultView } = this.ownerDocument;
    if (!defaultView) return;
    this.makeSheets(defaultView);
    this.showSize();
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

  private start(): void {
    this.task.abort();
    if (!this.src) {
      this.clear();
      this.hasFailed = false;
      this.showAlt();
      return;
    }
    this.showAlt();
    const { signal } = (this.task = new AbortController());
    this.settled = turnToLoad(this, signal).then(() => this.load(signal));
    this.settled.catch(() => {});
  }

  private async load(signal: AbortSignal): Promise<void> {
    try {
      const { src, realism } = this;
      const data = await this.read(src, signal);
      if (this.sized !== src) {
        const size = await info(data);
        signal.throwIfAborted();
        this.prepare(src, size);
      }
      const preview = this.drawn === src ? undefined : (image: ImageData) => this.draw(image);
      const image = await decode(data, { realism, signal, preview });
      signal.throwIfAborted();
      this.draw(image);
      this.drawn = src;
      this.isComplete = true;
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (!signal.aborted) this.fail(error);
      throw error;
    }
  }

  /** The bytes of a file, which are kept for another realism. */
  private async read(src: string, signal: AbortSignal): Promise<Uint8Array> {
    if (this.file?.src === src) return this.file.data;
    const data = await fetchBytes(src, signal);
    signal.throwIfAborted();
    this.file = { src, data };
    return data;
  }

  /** Take the size of a picture that is about to be drawn. */
  private prepare(src: string, { width, height }: { width: number; height: number }): void {
    this.drawn = null;
    resize(this.canvas, width, height);
    this.canvas.hidden = false;
    this.sized = src;
    this.hasFailed = false;
    this.showAlt();
  }

  private draw(image: ImageData): void {
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
    this.clear();
    this.hasFailed = true;
    this.showAlt();
    this.isComplete = true;
    const message = error instanceof Error ? error.message : String(error);
    this.dispatchEvent(new ErrorEvent("error", { message, error }));
  }

  /** Show no picture, and free its memory. */
  private clear(): void {
    this.file = null;
    this.sized = null;
    this.drawn = null;
    this.canvas.hidden = true;
    Object.assign(this.canvas, { width: 0, height: 0 });
  }

  private showAlt(): void {
    this.canvas.role = this.getAttribute("alt") === "" ? "presentation" : "img";
    this.canvas.ariaLabel = this.alt || null;
    this.text.textContent = this.hasFailed ? this.alt : "";
  }

  /** Hand a property that was set before the element was defined to its setter. */
  private adoptProperty(name: (typeof PROPERTIES)[number]): void {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    Reflect.deleteProperty(this, name);
    Object.assign(this, { [name]: value });
  }

  private makeSheets({ CSSStyleSheet }: Window & typeof globalThis): void {
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    this.hints = new CSSStyleSheet();
    this.shadowRoot!.adoptedStyleSheets = [style, this.hints];
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

if (!customElements.get("lapic-image")) customElements.define("lapic-image", LapicImage);
