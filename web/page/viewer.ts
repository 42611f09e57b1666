import { Gestures } from "./gestures.ts";
import { fitted, limited, moved, zoomed, type Size, type Transform } from "./transform.ts";

const CHECKS = 8; // screen pixels
const PIXELS_FROM = 2; // from this scale on pixels are drawn as squares

/** Two pictures of one size in a window, which zooms and pans them; a divider shows the left one on its left. */
export class Viewer {
  private readonly context: CanvasRenderingContext2D;
  private picture: Size = { width: 1, height: 1 };
  private left: ImageBitmap | null = null;
  private right: ImageBitmap | null = null;
  private transform: Transform = { scale: 1, x: 0, y: 0 };
  private fits = true;
  private split = 0.5;
  private drawing = 0;

  /**
   * @param root what holds the canvas and takes keys, wheel and pointers.
   * @param divider a slider element; hidden while there is only one picture.
   * @param zoomChanged called with the scale, screen pixels for each of the picture's.
   */
  constructor(
    private readonly root: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly divider: HTMLElement,
    private readonly zoomChanged: (scale: number) => void,
  ) {
    this.context = canvas.getContext("2d")!;
    new ResizeObserver(() => this.resized()).observe(root);
    new Gestures(root, {
      move: (x, y) => this.change(moved(this.transform, this.toScreen(x), this.toScreen(y))),
      zoom: (factor, x, y) => this.zoom(factor, x, y),
      toggle: (x, y) => (this.fits ? this.showPixels(x, y) : this.fit()),
    });
    root.addEventListener("keydown", (event) => this.key(event));
    this.listenToDivider();
  }

  /** Show pictures; `right` null shows `left` alone. Bitmaps may be smaller than `size`, and are stretched to it. */
  show(size: Size, left: ImageBitmap | null, right: ImageBitmap | null): void {
    const isOther = size.width !== this.picture.width || size.height !== this.picture.height;
    this.picture = { width: size.width, height: size.height };
    this.left = left;
    this.right = right;
    this.divider.hidden = !left || !right;
    if (isOther) this.fit();
    else this.draw();
  }

  /** The whole picture. */
  fit(): void {
    this.fits = true;
    this.change(fitted(this.picture, this.window()), true);
  }

  /** One pixel of the picture for each of the screen, around a point of the window in CSS pixels from its middle. */
  showPixels(x = 0, y = 0): void {
    this.zoom(1 / this.transform.scale, x, y);
  }

  /** Zoom around a point of the window, in CSS pixels from its middle. */
  zoom(factor: number, x = 0, y = 0): void {
    this.change(zoomed(this.transform, factor, this.toScreen(x), this.toScreen(y)));
  }

  private change(transform: Transform, fits = false): void {
    const window = this.window();
    this.transform = limited(transform, this.picture, window);
    this.fits = fits || this.transform.scale === fitted(this.picture, window).scale;
    this.zoomChanged(this.transform.scale);
    this.draw();
  }

  private resized(): void {
    const { width, height } = this.window();
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.fits) this.fit();
    else this.change(this.transform);
    this.placeDivider();
    this.paint();
  }

  private window(): Size {
    const { width, height } = this.root.getBoundingClientRect();
    return { width: Math.max(1, Math.round(this.toScreen(width))), height: Math.max(1, Math.round(this.toScreen(height))) };
  }

  private toScreen(length: number): number {
    return length * devicePixelRatio;
  }

  private draw(): void {
    cancelAnimationFrame(this.drawing);
    this.drawing = requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    const { context, canvas, transform, picture } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const x = Math.round(canvas.width / 2 - transform.x * transform.scale);
    const y = Math.round(canvas.height / 2 - transform.y * transform.scale);
    const width = picture.width * transform.scale;
    const height = picture.height * transform.scale;
    const border = this.left && this.right ? Math.round(canvas.width * this.split) : canvas.width;
    this.paintPart(this.left ?? this.right, 0, border, x, y, width, height);
    if (border < canvas.width) this.paintPart(this.right, border, canvas.width, x, y, width, height);
  }

  private paintPart(
    bitmap: ImageBitmap | null, from: number, to: number, x: number, y: number, width: number, height: number,
  ): void {
    if (!bitmap) return;
    const { context, canvas } = this;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    context.beginPath();
    context.rect(x, y, width, height);
    context.fillStyle = checks(context);
    context.fill();
    context.imageSmoothingEnabled = this.transform.scale < PIXELS_FROM || bitmap.width < this.picture.width;
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, x, y, width, height);
    context.restore();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 200 : 40;
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.change(moved(this.transform, this.toScreen(step), 0)),
      ArrowRight: () => this.change(moved(this.transform, -this.toScreen(step), 0)),
      ArrowUp: () => this.change(moved(this.transform, 0, this.toScreen(step))),
      ArrowDown: () => this.change(moved(this.transform, 0, -this.toScreen(step))),
      "+": () => this.zoom(1.5),
      "=": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      "0": () => this.fit(),
      "1": () => this.showPixels(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  private listenToDivider(): void {
    const { divider } = this;
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      divider.focus();
      event.preventDefault();
    });
    divider.addEventListener("pointermove", (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.root.getBoundingClientRect();
      this.setSplit((event.clientX - left) / width);
    });
    divider.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.root.dispatchEvent(new WheelEvent(event.type, event));
    });
    divider.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.02;
      const goals: Record<string, number> = {
        ArrowLeft: this.split - step, ArrowDown: this.split - step,
        ArrowRight: this.split + step, ArrowUp: this.split + step,
        PageDown: this.split - 0.1, PageUp: this.split + 0.1, Home: 0, End: 1,
      };
      const goal = goals[event.key];
      if (goal === undefined) return;
      event.preventDefault();
      this.setSplit(goal);
    });
  }

  private setSplit(split: number): void {
    this.split = Math.min(1, Math.max(0, split));
    this.placeDivider();
    this.draw();
  }

  private placeDivider(): void {
    const percent = Math.round(100 * this.split);
    this.divider.style.left = `${100 * this.split}%`;
    this.divider.setAttribute("aria-valuenow", String(percent));
    this.divider.setAttribute("aria-valuetext", `left picture ${percent} %, right picture ${100 - percent} %`);
  }
}

let pattern: CanvasPattern | null = null;

/** Grey checks, seen through transparent pixels. */
function checks(context: CanvasRenderingContext2D): CanvasPattern {
  if (!pattern) {
    const tile = new OffscreenCanvas(2 * CHECKS, 2 * CHECKS);
    const paint = tile.getContext("2d")!;
    paint.fillStyle = "#b8b8b8";
    paint.fillRect(0, 0, 2 * CHECKS, 2 * CHECKS);
    paint.fillStyle = "#dedede";
    paint.fillRect(0, 0, CHECKS, CHECKS);
    paint.fillRect(CHECKS, CHECKS, CHECKS, CHECKS);
    pattern = context.createPattern(tile, "repeat")!;
  }
  return pattern;
}
