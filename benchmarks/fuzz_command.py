"""Fuzzing of the command with mutated pictures, all in one run over one folder.

    python benchmarks/fuzz_command.py FOLDER [--exif 5000] [--containers 2000] [--seed 1] [--back .tif]

Small pictures are made by Pillow and changed: EXIF blocks (fields, counts, offsets and whole parts of directories) in
JPEG, PNG and WebP files that are whole otherwise, and PNG, TIFF, AVIF and JPEG containers (their chunks, directories,
boxes and segments, PNG with right and wrong checksums). Then `lapic encode -r -e 0 --jobs 1` codes them all. Every file
must be done or failed in the manifest, every failure must be one line on standard error, and nothing else may be there.
What is coded is decoded with --back, by the same rules. A table says what came of each kind; the exit code is 1 where a
rule is broken. Failures that lapic calls unexpected are counted apart, and shown.
"""

import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
from PIL import ExifTags, Image, TiffImagePlugin

SIZE = (32, 24)
COMMAND = [sys.executable, "-m", "lapic"]
UNEXPECTED = "(unexpected"


@dataclass
class Outcome:
    """What came of a folder: for each kind of input how many were done, failed, or failed in a way nobody has foreseen,
    an example of each of the latter, and which rules were broken."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    unexpected: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def table(self) -> str:
        """One row for each kind."""
        columns = ("done", "failed", "unexpected")
        rows = ["| kind | done | refused in one line | of these unexpected |", "|---|---|---|---|"]
        total: Counter[str] = Counter()
        for kind, counts in sorted(self.counts.items()):
            rows.append(f"| {kind} | " + " | ".join(f"{counts[column]}" for column in columns) + " |")
            total += counts
        rows.append("| all | " + " | ".join(f"{total[column]}" for column in columns) + " |")
        return "\n".join(rows)


def picture(rng: random.Random) -> Image.Image:
    """A smooth picture of a random colour, 32 x 24."""
    corners = Image.new("RGB", (2, 2))
    corners.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(4)])
    return corners.resize(SIZE, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file's bytes."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif_block(rng: random.Random) -> bytes:
    """EXIF data as cameras write them, with directories for the camera and the place, from "Exif" on."""
    exif = Image.Exif()
    exif.endian = rng.choice("<>")
    exif[ExifTags.Base.Make] = "Camera works"
    exif[ExifTags.Base.Orientation] = rng.randrange(1, 9)
    exif[ExifTags.Base.XResolution] = TiffImagePlugin.IFDRational(72, 1)
    exif[ExifTags.Base.DateTime] = "2024:02:29 12:34:56"
    exif[ExifTags.Base.BitsPerSample] = (8, 8, 8)
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.ExposureTime] = TiffImagePlugin.IFDRational(1, 250)
    inner[ExifTags.Base.MakerNote] = rng.randbytes(24)
    inner[ExifTags.Base.UserComment] = b"ASCII\0\0\0comment"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSLatitudeRef] = "N"
    place[ExifTags.GPS.GPSLatitude] = (TiffImagePlugin.IFDRational(47, 1),) * 3
    return exif.tobytes()


def mutate_bytes(data: bytes, rng: random.Random, times: int = 3) -> bytes:
    """Flip, overwrite, remove, repeat and cut bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, times)):
        if not changed:
            break
        at, length = rng.randrange(len(changed)), rng.randint(1, 8)
        how = rng.randrange(6)
        if how == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * length
        elif how == 2:
            changed[at : at + length] = rng.randbytes(length)
        elif how == 3:
            del changed[at : at + length]
        elif how == 4:
            changed[at:at] = changed[at : at + length * 4]
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def mutate_tiff(data: bytes, rng: random.Random) -> bytes:
    """Change one entry of a TIFF directory (its tag, type, count or value), a directory's place, or plain bytes."""
    if len(data) < 14 or rng.random() < 0.3:
        return mutate_bytes(data, rng)
    changed, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    directories = [struct.unpack_from(f"{order}I", data, 4)[0]]
    entries: list[int] = []
    for start in directories:  # which grows as pointers to others are found
        if start + 2 > len(data) or len(directories) > 8:
            continue
        count = struct.unpack_from(f"{order}H", data, start)[0]
        found = [start + 2 + 12 * n for n in range(count) if start + 14 + 12 * n <= len(data)]
        entries += found
        for entry in found:
            tag, _, _, value = struct.unpack_from(f"{order}HHII", data, entry)
            if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                directories.append(value)
    if not entries:
        return mutate_bytes(data, rng)
    for _ in range(rng.randint(1, 2)):
        entry, how = rng.choice(entries), rng.randrange(6)
        extreme = rng.choice([0, 1, 2, 8, 255, 65535, 2**31, 2**32 - 1, len(data), rng.randrange(2**32)])
        if how == 0:
            struct.pack_into(
                f"{order}H", changed, entry, rng.choice([0, 254, 274, 330, 34665, 34853, extreme & 0xFFFF])
            )
        elif how == 1:
            struct.pack_into(f"{order}H", changed, entry + 2, rng.choice([*range(19), extreme & 0xFFFF]))
        elif how == 2:
            struct.pack_into(f"{order}I", changed, entry + 4, extreme)
        elif how == 3:
            struct.pack_into(f"{order}I", changed, entry + 8, rng.choice([extreme, *directories]))
        elif how == 4:
            struct.pack_into(f"{order}H", changed, directories[0], extreme & 0xFFFF)
        else:
            struct.pack_into(f"{order}I", changed, 4, extreme)
    return bytes(changed)


def mutate_png(data: bytes, rng: random.Random) -> bytes:
    """Change one chunk and, two times in three, its checksum to the right one; or drop, repeat or move a chunk."""
    chunks, at = [], 8
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number, how = rng.randrange(len(chunks)), rng.randrange(6)
    kind, body = chunks[number]
    declared = None
    if how == 0:
        del chunks[number]
    elif how == 1:
        chunks.insert(rng.randrange(len(chunks)), chunks[number])
    elif how == 2:
        declared = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, rng.randrange(2**16)])
    elif how == 3:
        chunks[number] = (
            rng.choice([b"iCCP", b"tRNS", b"PLTE", b"eXIf", b"iTXt", b"acTL", b"cICP", kind.lower()]),
            body,
        )
    else:
        chunks[number] = (kind, mutate_bytes(body or rng.randbytes(4), rng))
    right, out = rng.random() < 0.67, [data[:8]]
    for place, (kind, body) in enumerate(chunks):
        length = declared if declared is not None and place == number else len(body)
        check = zlib.crc32(kind + body) ^ (0 if right or place != number else 1)
        out.append(struct.pack(">I", length) + kind + body + struct.pack(">I", check))
    return b"".join(out)


def mutate_jpeg(data: bytes, rng: random.Random) -> bytes:
    """Change one segment, its length or its marker; drop or repeat it; or change plain bytes."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    rest = data[at:]
    number, how = rng.randrange(len(segments)), rng.randrange(7)
    segment = segments[number]
    if how == 0:
        del segments[number]
    elif how == 1:
        segments.insert(rng.randrange(len(segments)), segment)
    elif how == 2:
        segments[number] = (
            segment[:2] + struct.pack(">H", rng.choice([0, 1, 2, 65535, rng.randrange(300)])) + segment[4:]
        )
    elif how == 3:
        segments[number] = (
            bytes([0xFF, rng.choice([0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xE1, 0xE2, 0xED, 0xEE])]) + segment[2:]
        )
    elif how == 4:
        rest = mutate_bytes(rest, rng, 6)
    else:
        segments[number] = segment[:4] + mutate_bytes(segment[4:] or b"\0", rng)
    return data[:2] + b"".join(segments) + rest


def mutate_boxes(data: bytes, rng: random.Random) -> bytes:
    """Change the length or the name of one box of an AVIF file, drop or repeat it; or change its bytes."""
    boxes, waiting = [], [(0, len(data))]
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end:
            length, kind = struct.unpack_from(">I4s", data, at)
            length = end - at if length == 0 else length
            if length < 8 or at + length > end:
                break
            boxes.append((at, length))
            if kind in (b"meta", b"iprp", b"ipco", b"iinf", b"iref"):
                waiting.append((at + {b"meta": 12, b"iinf": 14, b"iref": 12}.get(kind, 8), at + length))
            at += length
    (at, length), how = rng.choice(boxes), rng.randrange(6)
    if how == 0:
        return data[:at] + data[at + length :]
    if how == 1:
        return data[: at + length] + data[at:]
    if how == 2:
        return (
            data[:at] + struct.pack(">I", rng.choice([0, 1, 8, 2**32 - 1, rng.randrange(2 * length)])) + data[at + 4 :]
        )
    if how == 3:
        return data[: at + 4] + rng.choice([b"free", b"ispe", b"av1C", b"Exif", b"iloc", b"pixi"]) + data[at + 8 :]
    return data[: at + 8] + mutate_bytes(data[at + 8 : at + length] or b"\0", rng) + data[at + length :]


def with_exif(number: int, rng: random.Random) -> tuple[str, str, bytes]:
    """Kind, suffix and bytes of a picture whose EXIF block alone is changed."""
    block = exif_block(rng)
    changed = block[:6] + mutate_tiff(block[6:], rng) if rng.random() < 0.9 else mutate_bytes(block, rng)
    kind, suffix = (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"))[number % 3]
    return f"EXIF in {kind}", suffix, saved(picture(rng), kind, exif=changed)


def container(number: int, rng: random.Random) -> tuple[str, str, bytes]:
    """Kind, suffix and bytes of a picture whose container is changed."""
    image, block = picture(rng), exif_block(rng)
    image = image.convert(rng.choice(["RGB", "RGB", "RGBA", "L"]))
    way = number % 4
    if way == 0:
        image = image if rng.random() < 0.7 else image.convert("P")
        return "PNG", ".png", mutate_png(saved(image, "PNG", exif=block, dpi=(72, 72)), rng)
    if way == 1:
        compression = rng.choice(
            [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg" if image.mode == "RGB" else None]
        )
        return "TIFF", ".tif", mutate_tiff(saved(image, "TIFF", compression=compression), rng)
    if way == 2:
        return "AVIF", ".avif", mutate_boxes(saved(image, "AVIF", speed=10, exif=block), rng)
    image = image.convert("RGB")
    progressive = rng.random() < 0.3
    return "JPEG", ".jpg", mutate_jpeg(saved(image, "JPEG", exif=block, progressive=progressive), rng)


def make(folder: Path, exif: int, containers: int, seed: int) -> dict[str, str]:
    """Write the pictures into sub-folders of 500, and give the kind of each by its path below `folder`."""
    kinds = {}
    ways: list[tuple[Callable[[int, random.Random], tuple[str, str, bytes]], int]]
    ways = [(with_exif, exif), (container, containers)]
    for way, count in ways:
        for number in range(count):
            rng = random.Random(f"{seed} {way.__name__} {number}")
            kind, suffix, data = way(number, rng)
            path = Path(f"{way.__name__}-{number // 500}") / f"{number:05}{suffix}"
            (folder / path.parent).mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
            kinds[str(path.with_suffix(""))] = kind
    return kinds


def run(arguments: list[str], source: Path, target: Path, kinds: dict[str, str], what: str) -> Outcome:
    """Run the command from one folder to another, and hold what it did against the rules.

    Args:
        kinds: of the files to expect, by their paths below `source` without their suffixes.
    """
    manifest = target.with_suffix(".json")
    command = [*COMMAND, *arguments, "-r", "--jobs", "1", "--quiet", "--json", str(manifest), str(source), str(target)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace")
    outcome = Outcome()
    rows = json.loads(manifest.read_text()) if manifest.exists() else []
    lines = Counter(ended.stderr.splitlines())
    for row in rows:
        path = Path(row["source"]).relative_to(source)
        kind = f"{what} {kinds[str(path.with_suffix(''))]}"
        count = outcome.counts.setdefault(kind, Counter())
        count[row["status"]] += 1
        if row["status"] == "failed":
            own = [line for line in lines if f"{os.sep}{path}" in line and line.startswith("lapic: ")]
            if len(own) != 1 or lines[own[0]] != 1:
                outcome.broken.append(f"{path} has {len(own)} lines")
            if UNEXPECTED in row["error"]:
                count["unexpected"] += 1
                outcome.unexpected.setdefault(row["error"], str(path))
        elif not Path(row["target"]).stat().st_size:
            outcome.broken.append(f"{path} is done, but there is nothing in {row['target']}")
    failed = sum(count["failed"] for count in outcome.counts.values())
    found = {str(Path(row["source"]).relative_to(source).with_suffix("")) for row in rows}
    if found != set(kinds) or len(rows) != len(kinds):
        outcome.broken.append(f"the manifest of {what} has {len(rows)} rows for {len(kinds)} files")
    if ended.returncode != (1 if failed else 0):
        outcome.broken.append(f"{what} ended with {ended.returncode}: {ended.stderr[-300:]}")
    if len(ended.stderr.splitlines()) != failed or ended.stdout:
        others = [line for line in ended.stderr.splitlines() if not line.startswith("lapic: ")]
        outcome.broken.append(f"{what}: {len(others)} lines that name no file, such as {(others or [''])[0]!r}")
    return outcome


def fuzz(folder: Path, exif: int, containers: int, seed: int = 1, back: str = "") -> Outcome:
    """Make the pictures in `folder`, encode them, and decode what came of it to pictures with the suffix `back`."""
    kinds = make(folder / "in", exif, containers, seed)
    outcome = run(["encode", "-e", "0"], folder / "in", folder / "coded", kinds, "encode")
    if back:
        coded = [path.relative_to(folder / "coded") for path in (folder / "coded").rglob("*.lapic")]
        left = {str(path.with_suffix("")): kinds[str(path.with_suffix(""))] for path in coded}
        decoded = run(["decode", "--format", back.lstrip(".")], folder / "coded", folder / "back", left, "decode")
        outcome.counts |= decoded.counts
        outcome.unexpected |= decoded.unexpected
        outcome.broken += decoded.broken
    return outcome


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--exif", default=5000, show_default=True, help="Pictures with a changed EXIF block.")
@click.option("--containers", default=2000, show_default=True, help="Pictures with a changed container.")
@click.option("--seed", default=1, show_default=True)
@click.option("--back", default="", help="Decode what was encoded to this suffix too, such as .tif.")
def main(folder: Path, exif: int, containers: int, seed: int, back: str) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty")
    outcome = fuzz(folder, exif, containers, seed, back)
    click.echo(outcome.table())
    for error, path in outcome.unexpected.items():
        click.echo(f"unexpected: {path}: {error}")
    for line in outcome.broken:
        click.echo(f"broken: {line}")
    sys.exit(1 if outcome.broken else 0)


if __name__ == "__main__":
    main()
