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
    if (event.dataTransfer) void filesOf(event.dataTransfer).then(({ files, unread }) => {
      take(files, opened);
      for (const name of unread) failed(new PageError(`${name}: cannot be read`));
    });
  });
}

function take(files: Iterable<File> | null | undefined, opened: (files: File[]) => void): void {
  const all = [...(files ?? [])];
  if (all.length) opened(all);
}

/** The files that were dropped, of folders the pictures in them, and the names of what cannot be read. */
async function filesOf({ files, items }: DataTransfer): Promise<{ files: File[]; unread: string[] }> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()); // before the event ends
  if (!entries.some((entry) => entry?.isDirectory)) return { files: [...files], unread: [] };
  const found = entries.filter((entry) => entry !== null).map((entry) => filesIn(entry).catch(() => [entry.name]));
  const all = (await Promise.all(found)).flat();
  return {
    files: all.filter((one) => typeof one !== "string"),
    unread: all.filter((one) => typeof one === "string"),
  };
}

/** The file, or the pictures of a folder; the name of a file that cannot be read. Rejects for such a folder. */
async function filesIn(entry: FileSystemEntry): Promise<(File | string)[]> {
  if (!isFolder(entry)) return [await fileOf(entry)];
  const reader = entry.createReader();
  const inside: FileSystemEntry[] = [];
  for (let more = [entry as FileSystemEntry]; more.length; inside.push(...more)) {
    more = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
  }
  const visible = inside.filter((one) => !isFolder(one) && !one.name.startsWith("."));
  const files = await Promise.all(visible.map(fileOf));
  return files.filter((file) => typeof file === "string" || isPicture(file)).sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

function isFolder(entry: FileSystemEntry): entry is FileSystemDirectoryEntry {
  return entry.isDirectory;
}

function isPicture({ name, type }: File): boolean {
  return type.startsWith("image/") || /\.lapic$/i.test(name);
}

function nameOf(file: File | string): string {
  return typeof file === "string" ? file : file.name;
}

/** A file, or its name if it cannot be read. */
function fileOf(entry: FileSystemEntry): Promise<File | string> {
  return new Promise((resolve) => (entry as FileSystemFileEntry).file(resolve, () => resolve(entry.name)));
}
