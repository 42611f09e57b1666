/** The page: files in, a session for the one that is open, and what shows it. */

import { prepare } from "../src/lapic.ts";
import { find } from "./dom.ts";
import { droppedSource, linkedSources, renamed, type Source } from "./entry.ts";
import { encodePhoto } from "./photo.ts";
import { listenForFiles } from "./inputs.ts";
import { Panel } from "./panel.ts";
import { Panes } from "./panes.ts";
import { sentence } from "./sentence.ts";
import { Session } from "./session.ts";
import { nameOf, type State } from "./state.ts";
import { Strip } from "./strip.ts";
import { bytesText } from "./units.ts";
import { Viewer } from "./viewer.ts";

const canvas = find<HTMLCanvasElement>("#view canvas");
const viewer = new Viewer(find("#view"), canvas, find("#divider"), (scale) => {
  find("#zoom-level").textContent = `${Math.round(100 * scale)} %`;
});
const panes = new Panes(() => {
  show();
  session.look();
});
const session = new Session(show, () => panes.forms(session.state));
const strip = new Strip((source) => void openOne(source));
const panel = new Panel({
  setQuality: (quality) => session.setQuality(quality),
  setEncoder: (encoder) => session.setEncoder(encoder),
  setRealism: (realism) => session.setRealism(realism),
  save: () => {
    const { entry, versions } = session.state;
    save(versions.get("lapic")!.file, renamed(entry!.name, "lapic"));
  },
  savePicture: () => void savePicture().catch(complain),
});
let problems: string[] = [];
let turns = 0;
let hasLostFocus = false;

listenForFiles((files) => void openAll(files.map(droppedSource)), complain);
find("#zoom-in").addEventListener("click", () => viewer.zoom(1.5));
find("#zoom-out").addEventListener("click", () => viewer.zoom(1 / 1.5));
find("#zoom-fit").addEventListener("click", () => viewer.fit());
find("#zoom-pixels").addEventListener("click", () => viewer.showPixels());
window.addEventListener("hashchange", () => void openLinked());
find("#unloaded").remove();
show();
prepare().catch(complain);
void openLinked();

async function openLinked(): Promise<void> {
  await linkedSources(location.hash).then(openAll, complain);
}

/** Add files, and open the first that can be read. */
async function openAll(sources: Source[]): Promise<void> {
  problems = [];
  for (const source of sources) strip.add(source);
  for (const source of sources) {
    if (await open(source)) return;
    strip.remove(source);
  }
}

/** Open a file that was chosen among several. */
function openOne(source: Source): Promise<boolean> {
  problems = [];
  return open(source);
}

/** Say what went wrong apart from the open file, until other files are opened. */
function complain(error: unknown): void {
  problems.push(sentence(error));
  show();
}

async function savePicture(): Promise<void> {
  const { entry, versions } = session.state;
  save(await encodePhoto(versions.get("lapic")!.bitmap, "image/png"), renamed(entry!.name, "png"));
}

/** Open a file, unless another is opened meanwhile. Returns whether it can be read. */
async function open(source: Source): Promise<boolean> {
  const turn = ++turns;
  try {
    const entry = await source.read();
    if (turn !== turns) return true;
    strip.mark(source);
    void session.open(entry);
    return true;
  } catch (error) {
    complain(error);
    return turn !== turns;
  }
}

function show(): void {
  const { state } = session;
  const { entry, versions, preview, size, task, done } = state;
  const [left, right] = panes.forms(state).map((form) => versions.get(form)?.bitmap ?? null);
  const only = preview ?? (versions.get("original") ?? versions.get("lapic"))?.bitmap ?? null;
  viewer.show(size, left ?? right ?? only, left && right ? right : null);
  panes.show(state);
  panel.show(state);
  const isShown = versions.size > 0 || preview !== null;
  const focused = document.activeElement;
  for (const part of ["#view", "#zoom"]) find(part).hidden = !isShown;
  find("#empty").hidden = entry !== null;
  keepFocus(focused, isShown);
  find("#name").textContent = entry?.name ?? "";
  document.title = entry ? `${entry.name} - lapic` : "lapic";
  canvas.setAttribute("aria-label", entry ? `${entry.name}, ${size.width} x ${size.height} pixels` : "");
  const progress = find<HTMLProgressElement>("#progress");
  progress.hidden = task === null;
  if (done === null) progress.removeAttribute("value");
  else progress.value = done;
  progress.setAttribute("aria-label", task ?? "");
  showSentences(state);
}

/** Move the focus to the picture where what had it is hidden, once there is a picture. */
function keepFocus(focused: Element | null, isShown: boolean): void {
  if (focused?.closest("[hidden]")) hasLostFocus = true;
  if (!hasLostFocus || !isShown) return;
  hasLostFocus = false;
  if (document.activeElement === document.body || document.activeElement === focused) find("#view").focus();
}

/** Errors for everybody, what was done for who cannot see it. */
function showSentences(state: State): void {
  const { entry, error, task, versions, quality } = state;
  const sentences = [...problems, ...(error ? [`${entry!.name}: ${error}`] : [])];
  const alert = find("#error");
  if (alert.textContent !== sentences.join("\n")) alert.textContent = sentences.join("\n");
  alert.hidden = !sentences.length;
  const lapic = versions.get("lapic");
  if (error) find("#status").textContent = "";
  if (!lapic || error || task) return;
  const peers = panes.forms(state).filter((form) => versions.get(form)?.fits !== undefined);
  const sizes = peers.map((form) => `${nameOf(form, state)}: ${bytesText(versions.get(form)!.file.size)}`);
  const made = entry!.isLapic ? "decoded" : `quality ${quality}`;
  find("#status").textContent = [`${entry!.name}: ${made}, ${bytesText(lapic.file.size)}`, ...sizes].join("; ");
}

function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
