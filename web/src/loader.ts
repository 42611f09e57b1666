/** Lets `<img src="photo.lapic">` show its picture, and defines `<lapic-image>`. Importing this module upgrades the images
 * of the page, and those that are added later. */

import "./element.ts";
import { decode, info } from "./lapic.ts";
import { fetchBytes, realismIn, resize, turnToLoad } from "./showing.ts";

const LAPIC = /\.lapic$/i;

/** What the loader does for an image, and what it set there. */
interface Upgrade {
  task: AbortController;
  /** The address of the picture that is shown. */
  url: string | null;
  /** The attribute `width` during the first look. */
  width: string | null;
}

const upgrades = new WeakMap<HTMLImageElement, Upgrade>();
// A picture's address stays valid while its image exists, for clones of the image read it too.
const unused = new FinalizationRegistry((url: string) => URL.revokeObjectURL(url));

/**
 * Decode an image whose `src` ends in .lapic, and let it show the result; its `realism` is that of the attribute
 * `data-realism`. First it shows 1/8 of the size, so `load` comes twice. On failure the image gets an ErrorEvent `error`
 * whose `message` is one sentence, and keeps showing its alternative text.
 */
export async function upgrade(image: HTMLImageElement): Promise<void> {
  const { src } = image;
  const before = upgrades.get(image);
  if (before && before.url === src) return;
  if (before) end(image, before);
  if (!URL.canParse(src) || !LAPIC.test(new URL(src).pathname)) return;
  const current: Upgrade = { task: new AbortController(), url: null, width: null };
  upgrades.set(image, current);
  const { signal } = current.task;
  try {
    if (await showsAnotherSource(image, src, signal)) return;
    await turnToLoad(image, signal);
    await load(image, src, current);
  } catch (error) {
    if (signal.aborted) return;
    const message = error instanceof Error ? error.message : String(error);
    image.dispatchEvent(new ErrorEvent("error", { message, error }));
  }
}

/** Fetch and decode a file, and show its first look and its picture. */
async function load(image: HTMLImageElement, src: string, current: Upgrade): Promise<void> {
  const { signal } = current.task;
  const bytes = await fetchBytes(src, signal);
  const { width } = await info(bytes);
  signal.throwIfAborted();
  let first = Promise.resolve();
  const preview = (small: ImageData): void => {
    holdWidth(image, width, current);
    first = show(image, small, current).catch(() => {});
  };
  try {
    const realism = realismIn(image.dataset["realism"]);
    const picture = await decode(bytes, { realism, signal, preview }).finally(() => first);
    await show(image, picture, current);
  } finally {
    releaseWidth(image, current);
  }
}

/** Whether the browser chose a file of `srcset` or of a `<picture>` in place of `src`. */
async function showsAnotherSource(image: HTMLImageElement, src: string, signal: AbortSignal): Promise<boolean> {
  if (!image.hasAttribute("srcset") && !(image.parentElement instanceof HTMLPictureElement)) return false;
  if (!image.complete) await settled(image, signal);
  return image.currentSrc !== "" && image.currentSrc !== src;
}

/** Fulfilled when an image has loaded or failed. Rejects with the signal's reason. */
function settled(image: HTMLImageElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    for (const type of ["load", "error"]) image.addEventListener(type, () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

async function show(image: HTMLImageElement, picture: ImageData, current: Upgrade): Promise<void> {
  const canvas = new OffscreenCanvas(1, 1);
  resize(canvas, picture.width, picture.height).putImageData(picture, 0, 0);
  const blob = await canvas.convertToBlob();
  if (current.task.signal.aborted) return;
  const before = current.url;
  image.src = current.url = URL.createObjectURL(blob);
  revoke(before, current);
  unused.register(image, current.url, current);
  await image.decode().catch(() => {});
}

/** Stop what is done for an image, and take back what was set there. */
function end(image: HTMLImageElement, before: Upgrade): void {
  before.task.abort();
  revoke(before.url, before);
  releaseWidth(image, before);
  upgrades.delete(image);
}

function revoke(url: string | null, current: Upgrade): void {
  if (url) URL.revokeObjectURL(url);
  unused.unregister(current);
}

/** Give the first look the width of the picture, unless the page gives a size. */
function holdWidth(image: HTMLImageElement, width: number, current: Upgrade): void {
  if (image.hasAttribute("width") || image.hasAttribute("height")) return;
  current.width = String(width);
  image.setAttribute("width", current.width);
}

/** Remove the width of the first look, unless the page has changed it. */
function releaseWidth(image: HTMLImageElement, current: Upgrade): void {
  if (current.width !== null && image.getAttribute("width") === current.width) image.removeAttribute("width");
  current.width = null;
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
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["src", "loading"] });
upgradeAll(document);
