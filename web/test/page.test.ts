import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { linkedSource } from "../page/entry.ts";
import { decodePhoto } from "../page/photo.ts";
import { PageError } from "../page/sentence.ts";
import { Session } from "../page/session.ts";
import { replaced, restore } from "./stubs.ts";

afterEach(restore);

const photo = (name: string) => ({ name, blob: new Blob([name]), isLapic: false });

test("a file that fails once another is open says nothing about that one", async () => {
  const calls: { resolve: (bitmap: unknown) => void; reject: (error: unknown) => void }[] = [];
  replaced("createImageBitmap", () => new Promise((resolve, reject) => calls.push({ resolve, reject })));
  const session = new Session(
    () => undefined,
    () => [],
  );
  const first = session.open(photo("first.png"));
  void session.open(photo("second.png"));
  calls[0]!.reject(new Error("damaged"));
  await first;
  const { entry, error, task } = session.state;
  assert.deepEqual([entry!.name, error, task], ["second.png", null, "reading"]);
});

test("a photo that is too large is freed", async () => {
  let isClosed = false;
  replaced("createImageBitmap", async () => ({ width: 2 ** 15, height: 2 ** 14, close: () => (isClosed = true) }));
  await assert.rejects(decodePhoto(new Blob(["photo"])), /more than 268435456 pixels/);
  assert.ok(isClosed);
});

test("a linked file whose bytes end early is named", async () => {
  replaced("location", { href: "http://here/index.html", origin: "http://here" });
  replaced("fetch", async () => ({ ok: true, blob: () => Promise.reject(new TypeError("network error")) }));
  await assert.rejects(
    linkedSource("a.lapic").read(),
    (error) => error instanceof PageError && error.message === "a.lapic: cannot be read: the connection broke",
  );
});

test("a first look that is shown anew frees the one before", { timeout: 10_000 }, async () => {
  const facts = { width: 8, height: 8, quality: 50, realism: true };
  const pixels = { data: new Uint8ClampedArray(4), width: 1, height: 1 };
  const worker = class {
    onmessage: (event: { data: object }) => void = () => undefined;
    async postMessage({ id, job }: { id: number; job?: { kind: string } }) {
      const kind = { info: "done", decode: "preview" }[job?.kind ?? ""] ?? "failed";
      await Promise.resolve();
      this.onmessage({ data: { id, kind, result: facts, pixels, message: "cancelled", broken: false } });
    }
  };
  const looks: { isClosed: boolean }[] = [];
  const bitmap = async () => {
    const look = { isClosed: false, close: () => (look.isClosed = true) };
    looks.push(look);
    return look;
  };
  const shown = async (count: number) => {
    while (looks.length < count || !session.state.preview) await new Promise((resolve) => setTimeout(resolve));
  };
  replaced("Worker", worker);
  replaced("ImageData", class {});
  replaced("createImageBitmap", bitmap);
  const session = new Session(
    () => undefined,
    () => [],
  );
  void session.open({ ...photo("a.lapic"), isLapic: true });
  await shown(1);
  session.setRealism(1);
  await shown(2);
  await Promise.resolve();
  assert.deepEqual(
    looks.map(({ isClosed }) => isClosed),
    [true, false],
  );
});
