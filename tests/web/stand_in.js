// Stands in for lapic.js: files hold the signature, a line of JSON and a JPEG; the same calls, errors and timing of events.

const SIGNATURE = [0x8c, 0x4c, 0x41, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];

export class LapicError extends Error {}

function parse(data) {
  const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength);
  if (!bytes.length) throw new LapicError("not a lapic file: it is empty");
  if (!SIGNATURE.every((byte, i) => bytes[i] === byte)) throw new LapicError("not a lapic file");
  const end = bytes.indexOf(10, 8);
  if (end < 0) throw new LapicError("the header is damaged: truncated");
  return { header: JSON.parse(new TextDecoder().decode(bytes.subarray(8, end))), jpeg: bytes.slice(end + 1) };
}

export async function info(data) {
  const { header, jpeg } = parse(data);
  const { width, height, quality } = header;
  const bytes = { total: data.byteLength, header: data.byteLength - jpeg.length, payload: jpeg.length };
  return {
    width, height, mode: "RGB", quality, model: { id: "0a1b2c3d", name: "photo" }, formatVersion: 0, tile: 1024, tiles: 1,
    bpp: (8 * bytes.total) / width / height, bytes, metadata: {}, realism: true, ...header.more,
  };
}

export async function decode(data, { scale = 1, realism = 0, signal, progress, preview } = {}) {
  const { header, jpeg } = parse(data);
  signal?.throwIfAborted();
  progress?.(0, 2);
  const bitmap = await createImageBitmap(new Blob([jpeg])).catch(() => {
    throw new LapicError("a tile is damaged: its symbols do not match their checksum");
  });
  if (preview) preview(draw(bitmap, 8, 0));
  progress?.(1, 2);
  await new Promise((resolve) => setTimeout(resolve, header.delay ?? 0));
  signal?.throwIfAborted();
  return draw(bitmap, scale, realism);
}

export async function encode(image, { quality = 50, signal, progress } = {}) {
  signal?.throwIfAborted();
  progress?.(0, 1);
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  const jpeg = new Uint8Array(await (await canvas.convertToBlob({ type: "image/jpeg", quality: quality / 100 })).arrayBuffer());
  signal?.throwIfAborted();
  const header = JSON.stringify({ width: image.width, height: image.height, quality });
  return new Uint8Array([...SIGNATURE, ...new TextEncoder().encode(`${header}\n`), ...jpeg]);
}

function draw(bitmap, scale, realism) {
  const [width, height] = [Math.ceil(bitmap.width / scale), Math.ceil(bitmap.height / scale)];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.filter = `contrast(${1 + realism})`;
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
