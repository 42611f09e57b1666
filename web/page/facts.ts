import type { Info } from "../src/lapic.ts";
import { allBytesText } from "./units.ts";

const CHUNKS: Record<string, string> = {
  iccp: "ICC profile", exif: "EXIF", xmpd: "XMP", alph: "Alpha", filt: "Filter", header: "Header and checksums",
  payload: "Picture data", mode: "Mode", QMAP: "Map of regions",
};
const MODES: Record<string, string> = { L: "grey", LA: "grey with alpha", RGB: "colour", RGBA: "colour with alpha" };

const NO_NAME = "ICC profile without a name";

/** What is in a file, as rows of a name and a text. */
export function factsOf(info: Info, isMadeHere: boolean): [string, string][] {
  const { width, height, mode, quality, model, tiles, tile, bpp, bytes, metadata } = info;
  const parts = Object.entries(bytes).filter(([kind, count]) => kind !== "total" && count > 0);
  return [
    ["Picture", `${width} x ${height}, ${MODES[mode] ?? mode}`],
    ["Quality", String(rounded(quality))],
    ...regionFacts(info),
    ["File", allBytesText(bytes.total!)],
    ["Rate", `${bpp.toFixed(3)} bits per pixel`],
    ["Model", `${model.name ?? "unknown"} (${model.id})`],
    ["Format", `version ${info.formatVersion}, ${tiles === 1 ? "one tile" : `${tiles} tiles of ${tile} pixels`}`],
    ["Colours", coloursText(metadata.icc)],
    ["Metadata", metadataText(info, isMadeHere)],
    ...parts.map(([kind, count]): [string, string] => [CHUNKS[kind] ?? `Chunk ${kind}`, allBytesText(count)]),
  ];
}

function coloursText(profile: Uint8Array | undefined): string {
  if (!profile) return "sRGB";
  const isProfile = String.fromCharCode(...profile.subarray(36, 40)) === "acsp";
  return isProfile ? `${profileName(profile)}, converted to sRGB` : "sRGB: the ICC profile cannot be read";
}

function rounded(quality: number): number {
  return Math.round(100 * quality) / 100;
}

/** One row if there are regions, else none. */
function regionFacts({ regions }: Info): [string, string][] {
  if (!regions) return [];
  const share = Math.round(100 * regions.share);
  return [["Regions", `${share} % of the picture at up to quality ${rounded(regions.quality)}`]];
}

function metadataText({ metadata }: Info, isMadeHere: boolean): string {
  const there = [metadata.icc && "ICC profile", metadata.exif && "EXIF", metadata.xmp && "XMP"].filter(Boolean);
  if (there.length) return there.join(", ");
  return isMadeHere ? "none: those of the photo are left out" : "none";
}

/** The description in an ICC profile (its tag `desc`, in versions 2 and 4), or words for none. */
function profileName(profile: Uint8Array): string {
  try {
    const view = new DataView(profile.buffer, profile.byteOffset, profile.byteLength);
    const tags = Array.from({ length: Math.min(100, view.getUint32(128)) }, (_, i) => 132 + 12 * i);
    const start = view.getUint32(tags.find((at) => view.getUint32(at) === 0x64657363)! + 4);
    const isUnicode = view.getUint32(start) === 0x6d6c7563;
    const from = isUnicode ? start + view.getUint32(start + 24) : start + 12;
    const length = isUnicode ? view.getUint32(start + 20) : view.getUint32(start + 8);
    const text = new TextDecoder(isUnicode ? "utf-16be" : "latin1").decode(profile.subarray(from, from + length));
    return text.replace(/\0/g, "").trim() || NO_NAME;
  } catch {
    return NO_NAME;
  }
}
