import { decode } from "../src/lapic.ts";
import { find } from "./dom.ts";
import type { Entry } from "./entry.ts";

const EDGE = 96; // pixels of a thumbnail

/** The open files as a row of thumbnails; hidden while there is only one. */
export class Strip {
  private readonly root = find("#strip");
  private readonly buttons = new Map<Entry, HTMLButtonElement>();
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly opened: (entry: Entry) => void) {}

  /** Add a file at the end. */
  add(entry: Entry): void {
    const button = document.createElement("button");
    button.type = "button";
    button.title = entry.name;
    button.setAttribute("aria-label", entry.name);
    button.addEventListener("click", () => this.opened(entry));
    this.buttons.set(entry, button);
    this.root.append(button);
    if (this.buttons.size < 2) return;
    this.root.hidden = false;
    const undrawn = this.buttons.size === 2 ? [...this.buttons] : [[entry, button] as const];
    for (const [one, its] of undrawn) this.queue = this.queue.then(() => drawThumbnail(one, its));
  }

  /** Mark the file that is shown. */
  mark(entry: Entry): void {
    for (const [other, button] of this.buttons) {
      if (other === entry) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.buttons.get(entry)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

/** Draw a file small, or its name where it cannot be decoded: opening it says why. */
async function drawThumbnail({ blob, isLapic, name }: Entry, button: HTMLButtonElement): Promise<void> {
  try {
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
    button.textContent = name.slice(0, 12);
  }
}
