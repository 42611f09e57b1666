import { find } from "./dom.ts";
import { PageError } from "./sentence.ts";

/** Call `opened` with files that are dropped anywhere, chosen or pasted, and `failed` with why a file is not opened. */
export function listenForFiles(opened: (files: File[]) => void, failed: (error: unknown) => void): void {
  const input = find<HTMLInputElement>("#files");
  for (const button of ["#choose", "#choose-first"]) find(button).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take(input.files, opened);
    input.value = "";
  });
  document.addEventListener("paste", (event) => take(event.clipboardData?.files, opened));
  const { classList } = document.body;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dropping");
    if (event.dataTransfer) void takeDropped(event.dataTransfer, opened, failed);
  });
}

function take(files: Iterable<File> | null | undefined, opened: (files: File[]) => void): void {
  const all = [...(files ?? [])];
  if (all.length) opened(all);
}

async function takeDropped(
  transfer: DataTransfer,
  opened: (files: File[]) => void,
  failed: (error: unknown) => void,
): Promise<void> {
  const unread: string[] = [];
  take(await filesOf(transfer, unread), opened);
  for (const name of unread) failed(new PageError(`${name}: cannot be read`));
}

/** The files that were dropped; of folders, the pictures in them. The names of what cannot be read go to `unread`. */
async function filesOf({ files, items }: DataTransfer, unread: string[]): Promise<File[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()); // before the event ends
  if (!entries.some((entry) => entry?.isDirectory)) return [...files];
  const found = entries.filter((entry) => entry !== null).map((entry) => filesIn(entry, unread));
  return (await Promise.all(found)).flat();
}

async function filesIn(entry: FileSystemEntry, unread: string[]): Promise<File[]> {
  try {
    if (!isFolder(entry)) return [await fileOf(entry)];
    const inside = (await entriesIn(entry)).filter((one) => !isFolder(one) && !one.name.startsWith("."));
    const files = (await Promise.all(inside.map((one) => filesIn(one, unread)))).flat();
    return files.filter(isPicture).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    unread.push(entry.name);
    return [];
  }
}

async function entriesIn(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader(); // which gives them in parts, the last of which is empty
  const read = (): Promise<FileSystemEntry[]> => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  const inside: FileSystemEntry[] = [];
  for (let more = await read(); more.length; more = await read()) inside.push(...more);
  return inside;
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function isPicture({ name, type }: File): boolean {
  return type.startsWith("image/") || /\.lapic$/i.test(name);
}

function fileOf(entry: FileSystemEntry): Promise<File> {
  return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
}
