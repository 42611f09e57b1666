/** Lets `<img src="photo.lapic">` show its picture, and defines `<lapic-image>`. Importing this module upgrades the images
 * of the page, and those that are added later. */

import { fetchBytes } from "./element.ts";
import { decode, info } from "./lapic.ts";

const LAPIC = /\.lapic$/i;
const upgrades = new WeakMap<HTMLImageElement, AbortController>();
const sized = new WeakSet<HTMLImageElement>(); // images whose width and height were set here

/**
 * Decode an image whose `src` ends in .lapic, and let it show the result; its `realism` is that of the attribute
 * `data-realism`. First it shows 1/8 of the size, so `load` comes twice. On failure the image gets an ErrorEvent `error`
 * whose `message` is one sentence, and keeps showing its alternative text.
 */
export async function upgrade(image: HTMLImageElement): Promise<void> {
  const { src } = image;
  if (src.startsWith("blob:")) return; // set below
  upgrades.get(image)?.abort();
  if (sized.delete(image)) for (const name of ["width", "height"]) image.removeAttribute(name);
  if (!URL.canParse(src) || !LAPIC.test(new URL(src).pathname)) return;
  const controller = new AbortController();
  upgrades.set(image, controller);
  const { signal } = controller;
  try {
    const bytes = await fetchBytes(src, signal);
    const { width, height } = await info(bytes);
    const realism = Number(image.dataset.realism ?? 0);
    if (!image.hasAttribute("width") && !image.hasAttribute("height")) {
      Object.assign(image, { width, height });
      sized.add(image);
    }
    let first = Promise.resolve();
    const preview = (small: ImageData): void => void (first = show(image, small, signal));
    const whole = await decode(bytes, { realism, signal, preview });
    await first;
    await show(image, whole, signal);
  } catch (error) {
    if (signal.aborted) return;
    const message = error instanceof Error ? error.message : String(error);
    image.dispatchEvent(new ErrorEvent("error", { message, error }));
  }
}

async function show(image: HTMLImageElement, picture: ImageData, signal: AbortSignal): Promise<void> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d")!.putImageData(picture, 0, 0);
  const url = URL.createObjectURL(await canvas.convertToBlob());
  if (signal.aborted) {
    URL.revokeObjectURL(url);
    return;
  }
  image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
  image.src = url;
  await image.decode().catch(() => {});
}

function upgradeAll(root: ParentNode): void {
  for (const image of root.querySelectorAll<HTMLImageElement>("img[src]")) void upgrade(image);
}

new MutationObserver((records) => {
  for (const { target, addedNodes, type } of records) {
    if (type === "attributes" && target instanceof HTMLImageElement) void upgrade(target);
    for (const node of addedNodes) {
      if (node instanceof HTMLImageElement) void upgrade(node);
      else if (node instanceof Element) upgradeAll(node);
    }
  }
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
upgradeAll(document);
