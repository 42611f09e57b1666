import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { LapicError } from "../src/error.ts";
import { encode, info } from "../src/lapic.ts";
import { fetchFrom } from "../src/library.ts";
import { fetchBytes, turnToLoad } from "../src/showing.ts";
import { replaced, restore } from "./stubs.ts";

afterEach(restore);

const refused = (call: Promise<unknown>, message: RegExp) =>
  assert.rejects(call, (error) => error instanceof LapicError && message.test(error.message));

test("an answer whose bytes end early is refused in a sentence that names the file", async () => {
  const arrayBuffer = () => Promise.reject(new TypeError("network error"));
  replaced("document", { baseURI: "http://here/" });
  replaced("fetch", async () => ({ ok: true, arrayBuffer }));
  const bytes = fetchBytes("http://here/a.lapic", new AbortController().signal);
  await refused(bytes, /^cannot read http:\/\/here\/a\.lapic: the connection broke$/);
  const read = fetchFrom(new URL("http://here/packs/"));
  await refused(read("packs.json"), /^the model cannot be loaded: packs\.json: the connection broke$/);
});

test("what ends the reading of bytes is passed on", async () => {
  const task = new AbortController();
  const arrayBuffer = async () => {
    task.abort("enough");
    throw task.signal.reason;
  };
  replaced("document", { baseURI: "http://here/" });
  replaced("fetch", async () => ({ ok: true, arrayBuffer }));
  await assert.rejects(fetchBytes("http://here/a.lapic", task.signal), (error) => error === "enough");
});

test("a lazy image that was given up is not watched", async () => {
  let watched = 0;
  const watcher = class {
    observe = () => watched++;
    disconnect = () => watched--;
  };
  replaced("IntersectionObserver", watcher);
  const element = { getAttribute: () => "lazy" } as unknown as Element;
  const late = await Promise.race([
    turnToLoad(element, AbortSignal.abort("gone")).catch((reason: unknown) => reason),
    new Promise((resolve) => setTimeout(resolve, 0, "waits")),
  ]);
  assert.deepEqual([late, watched], ["gone", 0]);
});

test("pixels of another colour space need their profile", async () => {
  const image = { data: new Uint8ClampedArray(4), width: 1, height: 1, colorSpace: "display-p3" } as ImageData;
  await refused(encode(image), /^the pixels are in display-p3: give its ICC profile, or read them as sRGB$/);
  await refused(encode(image, { metadata: { icc: new Uint8Array(128) } }), /^a browser is needed/);
  await refused(encode({ ...image, colorSpace: "srgb" } as ImageData), /^a browser is needed/);
});

test("shared bytes are copied before they are sent", () => {
  const sent: { job: { bytes: Uint8Array } }[] = [];
  const worker = class {
    postMessage = (request: (typeof sent)[number]) => sent.push(request);
  };
  replaced("Worker", worker);
  void info(new Uint8Array(new SharedArrayBuffer(2)).fill(7));
  const { bytes } = sent[0]!.job;
  assert.ok(bytes.buffer instanceof ArrayBuffer);
  assert.deepEqual([...bytes], [7, 7]);
});
