/** What `<lapic-image>` and the loader for `<img>` share. */

import { LapicError } from "./lapic.ts";

type AnyContext = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

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
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    if (signal.aborted) throw error;
    throw new LapicError(`cannot read ${src}: the connection broke`);
  }
}

/** The realism that an attribute asks for, limited to 0..1; 0 if it is no number. */
export function realismIn(text: string | null | undefined): number {
  const realism = Number(text ?? 0);
  return realism >= 0 ? Math.min(1, realism) : 0;
}

/** Fulfilled when an element may load, a lazy one once it is near the window. Rejects with the signal's reason. */
export function turnToLoad(element: Element, signal: AbortSignal): Promise<void> {
  if (element.getAttribute("loading")?.toLowerCase() !== "lazy") return Promise.resolve();
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const watcher = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        resolve();
      },
      { rootMargin: "100%" },
    );
    const end = () => {
      watcher.disconnect();
      reject(signal.reason);
    };
    signal.addEventListener("abort", end, { once: true });
    watcher.observe(element);
  });
}

/** Give a canvas a size, which empties it. Throws LapicError if the browser has no canvas of that size. */
export function resize(canvas: HTMLCanvasElement | OffscreenCanvas, width: number, height: number): AnyContext {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d") as AnyContext | null;
  if (!context || !canDraw(context)) {
    throw new LapicError(`this browser has no pictures of ${width} x ${height}: show a smaller one`);
  }
  return context;
}

/** Whether a context takes pixels: above the browser's limits drawing throws, or the context is lost. */
function canDraw(context: AnyContext): boolean {
  try {
    context.putImageData(new ImageData(1, 1), 0, 0);
    return !context.isContextLost?.();
  } catch {
    return false;
  }
}
