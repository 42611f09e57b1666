import { decode } from "../src/lapic.ts";
import { find } from "./dom.ts";
import type { Source } from "./entry.ts";

const EDGE = 96; // pixels of a thumbnail

/** The open files as a row of thumbnails; hidden while there is only one. */
export class Strip {
  private readonly root = find("#strip");
  private readonly buttons = new Map<Source, HTMLButtonElement>();
  private readonly undrawn = new Map<Element, Source>();
  private queue: Promise<void> = Promise.resolve();
  private readonly watcher = new IntersectionObserver((seen) => this.draw(seen), { root: this.root, rootMargin: "50%" });

  constructor(private readonly opened: (source: Source) => void) {}

  /** Add a file at the end; its thumbnail is drawn when it is seen. */
  add(source: Source): void {
    const button = document.createElement("button");
    button.type = "button";
    button.title = source.name;
    button.setAttribute("aria-label", source.name);
    button.addEventListener("click", () => this.opened(source));
    this.buttons.set(source, button);
    this.root.append(button);
    this.root.hidden = this.buttons.size < 2;
    this.undrawn.set(button, source);
    this.watcher.observe(button);
  }

  /** Take a file away. */
  remove(source: Source): void {
    const button = this.buttons.get(source);
    if (!button) return;
    this.watcher.unobserve(button);
    this.undrawn.delete(button);
    this.buttons.delete(source);
    button.remove();
    this.root.hidden = this.buttons.size < 2;
  }

  /** Mark the file that is shown. */
  mark(source: Source): void {
    for (const [other, button] of this.buttons) {
      if (other === source) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.buttons.get(source)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  private draw(seen: IntersectionObserverEntry[]): void {
    for (const { target } of seen.filter((one) => one.isIntersecting)) {
      const source = this.undrawn.get(target);
      this.undrawn.delete(target);
      this.watcher.unobserve(target);
      if (source) this.queue = this.queue.then(() => drawThumbnail(source, target));
    }
  }
}

/** Draw a file small, or its name where it cannot be decoded: opening it says why. */
async function drawThumbnail(file: Source, button: Element): Promise<void> {
  if (!button.isConnected) return;
  try {
    const { blob, isLapic } = await file.read();
    const source = isLapic ? await decode(await blob.arrayBuffer(), { scale: 8 }) : blob;
    const whole = await createImageBitmap(source);
    const scale = EDGE / Math.min(whole.width, whole.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = EDGE;
    const [width, height] = [whole.width * scale, whole.height * scale];
    canvas.getContext("2d")!.drawImage(whole, (EDGE - width) / 2, (EDGE - height) / 2, width, height);
    whole.close();
    button.replaceChildren(canvas);
  } catch {
    button.textContent = file.name.slice(0, 12);
  }
}
