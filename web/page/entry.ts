import { PageError } from "./sentence.ts";

const SIGNATURE = [0x8c, 0x4c, 0x41, 0x50, 0x0d, 0x0a, 0x1a, 0x0a];

/** A file that was opened; `isLapic` says whether it is decoded by lapic or by the browser. */
export interface Entry {
  name: string;
  blob: Blob;
  isLapic: boolean;
}

/** An entry of a file, known by its first bytes or by its name. */
export async function entryOf(blob: Blob, name: string): Promise<Entry> {
  const start = new Uint8Array(await blob.slice(0, SIGNATURE.length).arrayBuffer());
  const isSigned = start.length === SIGNATURE.length && SIGNATURE.every((byte, i) => start[i] === byte);
  return { name, blob, isLapic: isSigned || /\.lapic$/i.test(name) };
}

/** A file that can be opened, not read yet. */
export interface Source {
  name: string;
  /** Throws PageError with a sentence that names the file. */
  read(): Promise<Entry>;
}

/** A file that was dropped, chosen or pasted. */
export function droppedSource(file: File): Source {
  return { name: file.name, read: () => entryOf(file, file.name).catch(() => refuse(file.name, "cannot be read")) };
}

/** The file at an address of this site, which a link names. */
export function linkedSource(address: string, base = location.href): Source {
  const url = URL.canParse(address, base) ? new URL(address, base) : null;
  const name = (address && url && nameIn(url)) || address || "open=";
  return {
    name,
    read: async () => {
      if (!url || !address) refuse(name, "not the address of a file");
      if (url.origin !== location.origin) {
        const where = url.host ? `from ${url.host} ` : "";
        refuse(name, `links open files of this site alone: download it ${where}and drop it here`);
      }
      const answer = await answerOf(url, name);
      return entryOf(await answer.blob().catch(() => refuse(name, "cannot be read: the connection broke")), name);
    },
  };
}

/**
 * The files that the fragment of a link names, as in `#open=a.lapic&open=b.lapic`, and those of its lists, as in
 * `#list=files.json`: a JSON array of addresses, which may be relative to that of the list.
 *
 * @throws PageError a list cannot be read.
 */
export async function linkedSources(fragment: string): Promise<Source[]> {
  const named = new URLSearchParams(fragment.replace(/^#/, ""));
  const lists = await Promise.all(named.getAll("list").map(listedSources));
  return [...named.getAll("open").map((address) => linkedSource(address)), ...lists.flat()];
}

async function listedSources(list: string): Promise<Source[]> {
  if (!URL.canParse(list, location.href)) refuse(list, "not the address of a list");
  const url = new URL(list, location.href);
  if (url.origin !== location.origin) refuse(list, "a list has to be of this site");
  const addresses: unknown = await (await answerOf(url, list)).json().catch(() => null);
  if (!Array.isArray(addresses)) refuse(list, "not a list of addresses");
  return addresses.map((address) => linkedSource(String(address), url.href));
}

async function answerOf(url: URL, name: string): Promise<Response> {
  const response = await fetch(url).catch(() => refuse(name, "cannot be read: the server does not answer"));
  return response.ok ? response : refuse(name, `cannot be read: the server answers ${response.status}`);
}

/** The last part of an address' path, or its host. */
function nameIn(url: URL): string {
  const part = url.pathname.split("/").pop() || url.host;
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function refuse(name: string, reason: string): never {
  throw new PageError(`${name}: ${reason}`);
}

/** A name with another suffix: photo.png becomes photo.lapic. */
export function renamed(name: string, suffix: string): string {
  return `${name.replace(/\.[^.]*$/, "") || "picture"}.${suffix}`;
}
