import { PageError } from "./sentence.ts";

const MOST_PIXELS = 2 ** 28;
const WHITE = "#fff";

/** A photo as the browser decodes it: turned upright, in sRGB. */
export async function decodePhoto(blob: Blob): Promise<ImageBitmap> {
  if (!blob.size) throw new PageError("the file is empty");
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new PageError("not a picture that this browser can open");
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    bitmap.close();
    throw new PageError(`${width} x ${height} is more than ${MOST_PIXELS} pixels`);
  }
  return bitmap;
}

/** The pixels of a bitmap, 8 bits a channel, in sRGB. */
export function pixelsOf(bitmap: ImageBitmap): ImageData {
  return contextWith(bitmap).getImageData(0, 0, bitmap.width, bitmap.height);
}

/** A bitmap as a file of a type that the browser writes; types without alpha get white behind it. */
export async function encodePhoto(bitmap: ImageBitmap, type: string, quality?: number): Promise<Blob> {
  const canvas = contextWith(bitmap, type === "image/jpeg" ? WHITE : undefined).canvas;
  const blob = await canvas.convertToBlob(quality === undefined ? { type } : { type, quality });
  if (blob.type !== type) throw new PageError(`this browser cannot write ${type.replace("image/", "")}`);
  return blob;
}

function contextWith(bitmap: ImageBitmap, background?: string): OffscreenCanvasRenderingContext2D {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new PageError(`${bitmap.width} x ${bitmap.height} is too large for this browser`);
  if (background) {
    context.fillStyle = background;
    context.fillRect(0, 0, bitmap.width, bitmap.height);
  }
  context.drawImage(bitmap, 0, 0);
  return context;
}
