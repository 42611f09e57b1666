import { find } from "./dom.ts";

/** Call `opened` with files that are dropped anywhere, chosen or pasted. */
export function listenForFiles(opened: (files: File[]) => void): void {
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
    if (event.dataTransfer) void filesOf(event.dataTransfer).then((files) => take(files, opened));
  });
}

function take(files: Iterable<File> | null | undefined, opened: (files: File[]) => void): void {
  const all = [...(files ?? [])];
  if (all.length) opened(all);
}

/** The files that were dropped; of folders, the pictures in them. */
async function filesOf({ files, items }: DataTransfer): Promise<File[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()); // before the event ends
  if (!entries.some((entry) => entry?.isDirectory)) return [...files];
  const found = await Promise.all(entries.filter((entry) => entry !== null).map(filesIn));
  return found.flat();
}

async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  if (!isFolder(entry)) return [await fileOf(entry)];
  const reader = entry.createReader();
  const inside: FileSystemEntry[] = [];
  for (let more = [entry as FileSystemEntry]; more.length; inside.push(...more)) {
    more = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
  }
  const files = await Promise.all(inside.filter((one) => !isFolder(one) && !one.name.startsWith(".")).map(fileOf));
  const pictures = files.filter(({ name, type }) => type.startsWith("image/") || /\.lapic$/i.test(name));
  return pictures.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function fileOf(entry: FileSystemEntry): Promise<File> {
  return new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
}
