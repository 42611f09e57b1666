"""`lapic evaluate`: measure codecs on pictures, then write results, plots and the report."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lapic.bitstream import Error
from lapic.codec.command.cluster import cluster_of
from lapic.codec.command.failures import named
from lapic.codec.command.workers import Call, RemotePool, WorkerPool, cores, run, worker_pool
from lapic.codec.evaluation import codecs, metrics, pictures, plane
from lapic.codec.evaluation.cache import Cache, Point, file_of, key_of, shown
from lapic.codec.evaluation.codec import Codec, Unavailable, told_apart
from lapic.codec.evaluation.curves import mean_curves, published
from lapic.codec.evaluation.matching import MatchJob, match
from lapic.codec.evaluation.measure import Job, MemoryJob, check, measure, memory
from lapic.codec.evaluation.report import counted, pictures_of, write_report
from lapic.codec.evaluation.results import versions_of, write_results

Say = Callable[[str], None]
Watch = Callable[[int, str], Callable[[], None]]
Wanted = tuple[str, Codec, float]  # a picture's name, a codec, a quality


@dataclass(frozen=True)
class Options:
    """What to evaluate and how."""

    pictures: tuple[Path, ...]
    out: Path
    codecs: tuple[str, ...] = codecs.DEFAULT
    qualities: tuple[tuple[str, tuple[float, ...]], ...] = ()  # codec -> qualities; a codec's own ladder if not here
    metrics: tuple[str, ...] = metrics.METRICS
    lpips_net: str = "squeeze"
    lpips_backbone: Path | None = None
    published: bool = False  # the pictures are Kodak's: draw the published curves too
    jobs: int | None = None
    look_bpp: float = 0.3  # where the report's pictures are compared
    report: bool = True
    memory: bool = True  # whether to measure it, in fresh processes
    realism: tuple[float, ...] = ()  # of further decodes of lapic's files, for the plane of distortion and perception
    command: str = ""
    cluster: str | None = None  # address of the Ray cluster that measures, whose machines all see `out`


@dataclass
class _Session:
    """One evaluation under way."""

    options: Options
    codecs: list[Codec]
    pictures: dict[str, Path]  # unique name -> file
    digests: dict[str, str]
    cache: Cache
    pool: WorkerPool | RemotePool
    watch: Watch
    unreadable: dict[str, str]  # file -> why it cannot be measured


def evaluate(options: Options, say: Say = lambda line: None, watch: Watch = lambda total, what: lambda: None) -> Path:
    """Measure and write results.json, results.csv, plots and report.html to `options.out`.

    Args:
        say: hears one line about whatever a user should know (a codec that is skipped, a point that failed).
        watch: called as watch(total, what) before a stage; what it returns is called after each step of it.

    Returns:
        The path of results.json.

    Raises:
        Error: no pictures, no codecs, an unknown name, or nothing that could be measured.
    """
    pool = cluster_of(options.cluster, "cpu") if options.cluster else worker_pool(options.jobs or cores())
    with pool as processes:
        session = _begin(options, say, watch, processes)
        _leave_out_unreadable(session, say)
        points = _measure(session, _ladder(session), "points")
        for point in points:
            if "error" in point:
                say(f"{point['label']} failed on {point['picture']} at quality {point['quality']:g}: {point['error']}")
        curves, remarks = mean_curves(points)
        for remark in remarks:
            say(remark)
        if not curves:
            raise Error("no codec made a file of every picture")
        looks = _looks(session, points) if options.report else []
        shots = pictures_of(looks, options.out, session.pictures, processes, watch) if looks else []
    used = _memory(session, points) if options.memory else {}
    rows = plane.rows_of(points, options.realism, options.out, session.pictures, say, watch) if options.realism else []

    from lapic.codec.evaluation import plots
    from lapic.codec.evaluation.cost import add_costs

    add_costs(curves, points)
    others = published() if options.published else []
    results = write_results(
        options.out,
        options.command,
        len(session.pool),
        options.lpips_net if "lpips" in session.options.metrics else None,
        options.published,
        session.codecs,
        points,
        looks,
        curves,
        used,
        rows,
        session.unreadable,
        remarks,
    )
    title = f"{counted(len(session.pictures), 'picture')}, means"
    drawn = plots.draw([curves], others, options.out, title) | plots.perception(rows, options.out, title)
    if options.report:
        write_report(options.out, results, curves + others, drawn, shots)
    return options.out / "results.json"


def _begin(options: Options, say: Say, watch: Watch, processes: WorkerPool | RemotePool) -> _Session:
    """Look for all that is needed; leave out what is not there, with a line that names it."""
    found = []
    names = [*options.codecs, *(plane.name_of(realism) for realism in options.realism)]
    for name in dict.fromkeys(names):
        try:
            found.append(codecs.make(name))
        except Unavailable as reason:
            say(f"{name} is skipped: {reason}")
    if not found:
        raise Error("there is no codec to measure")
    found = told_apart(found)
    asked = {part for name in names for part in (name, name.partition("@")[0])}
    unknown = {name for name, _ in options.qualities} - asked
    if unknown:
        raise Error(f"qualities were given for {', '.join(sorted(unknown))}, which is not measured")
    _tell_qualities_left_out(options, found, say)
    found_pictures, unreadable = pictures.find(options.pictures, say)
    digests = pictures.digests(found_pictures, unreadable)
    wanted = metrics.usable(options.metrics, options.lpips_net, options.lpips_backbone, say)
    try:
        for codec_ in found:
            (options.out / "files" / _encoder(codec_).folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"{error.filename}: {error.strerror}") from None
    options = replace(options, metrics=wanted)
    cache = Cache(options.out / "points.jsonl")
    return _Session(options, found, found_pictures, digests, cache, processes, watch, unreadable)


def _leave_out_unreadable(session: _Session, say: Say) -> None:
    """Leave the pictures that cannot be read out of the session, each with a line. Raises `Error` if none is left."""
    keys = {name: json.dumps(["readable", digest]) for name, digest in session.digests.items()}
    new = {key: name for name, key in keys.items() if key not in session.cache.points}
    checked = _run(session, [(check, session.pictures[name]) for name in new.values()], list(new), "pictures")
    for name, key in keys.items():
        if "error" in checked.get(key, {}):
            session.unreadable[str(session.pictures.pop(name))] = checked[key]["error"]
    for path, reason in session.unreadable.items():
        say(f"lapic: {named(reason, path)}")
    if not session.pictures:
        raise Error("none of the pictures can be measured")


def _ladder(session: _Session) -> list[Wanted]:
    """Every picture x codec x quality, pictures outermost, so that an interrupted run has whole pictures."""
    return [
        (picture, codec, quality)
        for picture in session.pictures
        for codec in session.codecs
        for quality in _qualities(session.options, codec)
        if codec.has(quality)
    ]


def _qualities(options: Options, codec_: Codec) -> tuple[float, ...]:
    """The qualities that were asked for of a codec; it may not have all of them."""
    asked = dict(options.qualities)
    return asked.get(codec_.name, asked.get(codec_.base, codec_.ladder))


def _tell_qualities_left_out(options: Options, found: list[Codec], say: Say) -> None:
    """Say which of the qualities that were asked for a codec does not have."""
    for codec_ in found:
        low, high = codec_.span
        outside = [f"{quality:g}" for quality in _qualities(options, codec_) if not codec_.has(quality)]
        if outside and dict(options.qualities).keys() & {codec_.name, codec_.base}:
            which = "whole qualities" if codec_.is_whole else "qualities"
            say(f"{codec_.label} has {which} {low:g} to {high:g}: {', '.join(outside)} left out")


def _encoder(codec_: Codec) -> Codec:
    """The codec that makes the files which this one decodes."""
    return codecs.make(codec_.encoder) if codec_.encoder else codec_


def _measure(session: _Session, wanted: list[Wanted], what: str) -> list[Point]:
    """Points in the order asked; a file that several codecs decode is encoded once, before they do."""
    first = dict.fromkeys((picture, _encoder(codec_), quality) for picture, codec_, quality in wanted)
    found = _points(session, list(first), {}, what)
    found |= _points(session, [one for one in wanted if one[1].encoder], found, f"{what}, decoded otherwise")
    return [found[one] for one in wanted]


def _points(session: _Session, wanted: list[Wanted], made: dict[Wanted, Point], what: str) -> dict[Wanted, Point]:
    """Points from the cache or measured now, of files that the points `made` before left or that are encoded now."""
    options = session.options
    versions = versions_of(options.metrics, options.lpips_net, options.lpips_backbone)
    keys, labels, calls, call_keys = [], [], [], []
    for picture, codec_, quality in wanted:
        encoder = _encoder(codec_)
        file = file_of(options.out, picture, session.digests[picture], encoder, quality)
        job = Job(
            session.pictures[picture],
            codec_.name,
            quality,
            file,
            versions,
            options.lpips_net,
            options.lpips_backbone,
            threads=1,
            encoded=made.get((picture, encoder, quality), {}).get("encode_s"),
        )
        key = key_of(job, codec_, session.digests[picture])
        keys.append(key)
        label = {"picture": picture, "codec": codec_.name, "label": codec_.label, "quality": quality}
        labels.append(label | {"file": str(file.relative_to(options.out))})
        known = session.cache.points.get(key) if file.exists() else None
        if known:
            job = replace(job, metrics=job.lacks(known), encoded=known["encode_s"], known=known)
        if job.metrics or not known:
            calls.append((measure, job))
            call_keys.append(key)
    found = _run(session, calls, call_keys, what)
    points = [found.get(key) or session.cache.points[key] for key in keys]
    measured = [label | shown(point, options.metrics) for label, point in zip(labels, points, strict=True)]
    return dict(zip(wanted, measured, strict=True))


def _run(session: _Session, calls: list[Call], keys: list[str], what: str, fresh: bool = False) -> dict[str, Point]:
    """Make the calls, if asked in `fresh` processes; results go to the cache, failures only to the caller, so that a
    later run tries them again."""
    step = session.watch(len(calls), what)
    found: dict[str, Point] = {}

    def listen(number: int, point: Point) -> None:
        found[keys[number]] = point
        if "error" not in point:
            session.cache.add(keys[number], point)
        step()

    if calls:
        run(calls, len(calls) if fresh else session.pool, listen)
    return found


def _looks(session: _Session, points: list[Point]) -> list[Point]:
    """For each picture a point of lapic near `look_bpp` and one of every peer at the same file size."""
    base = session.codecs[0]
    rungs = [point for point in points if point["codec"] == base.name and "error" not in point]
    qualities = sorted({point["quality"] for point in rungs})
    means = {q: [point["bpp"] for point in rungs if point["quality"] == q] for q in qualities}
    if not means:
        return []
    chosen = min(means, key=lambda q: abs(sum(means[q]) / len(means[q]) - session.options.look_bpp))
    base_points = {point["picture"]: point for point in rungs if point["quality"] == chosen}
    pairs, calls, keys = [], [], []
    for picture, base_point in base_points.items():
        for codec_ in session.codecs[1:]:
            known = tuple(
                (point["quality"], point["bytes"])
                for point in points
                if point["picture"] == picture and point["codec"] == codec_.name and "error" not in point
            )
            job = MatchJob(session.pictures[picture], codec_.name, base_point["bytes"], known, threads=1)
            key = json.dumps(["match", session.digests[picture], codec_.name, codec_.version, job.limit])
            pairs.append((picture, codec_, key))
            if key not in session.cache.points:
                calls.append((match, job))
                keys.append(key)
    _run(session, calls, keys, "sizes to match")
    wanted = [
        (picture, codec_, session.cache.points[key]["quality"])
        for picture, codec_, key in pairs
        if key in session.cache.points
    ]
    matched = _measure(session, wanted, "points at the same size")
    return [*base_points.values(), *(point for point in matched if "error" not in point)]


def _memory(session: _Session, points: list[Point]) -> dict[str, Point]:
    """For each codec the largest picture and the MiB that encoding and decoding it take, in fresh processes."""
    calls, keys = [], []
    chosen = {point["codec"]: point for point in sorted((p for p in points if "error" not in p), key=_pixels)}
    for name, point in chosen.items():
        for file in (None, session.options.out / point["file"]):
            job = MemoryJob(name, point["quality"], session.pictures[point["picture"]], file, threads=1)
            key = json.dumps(["memory", name, point["file"], file is None, session.digests[point["picture"]]])
            version = next(codec_.version for codec_ in session.codecs if codec_.name == name)
            calls.append((memory, job))
            keys.append(f"{key} {version}")
    found = {}
    new = [number for number, key in enumerate(keys) if key not in session.cache.points]
    at_once = min(len(session.pool), cores())  # each call is made in a process of its own, on this machine
    for number in range(0, len(new), at_once):
        some = new[number : number + at_once]
        found |= _run(session, [calls[n] for n in some], [keys[n] for n in some], "memory", fresh=True)
    values = [(found.get(key) or session.cache.points[key]).get("mib") for key in keys]
    return {
        name: {"picture": point["picture"], "encode_mib": values[2 * number], "decode_mib": values[2 * number + 1]}
        for number, (name, point) in enumerate(chosen.items())
    }


def _pixels(point: Point) -> int:
    return round(8 * point["bytes"] / point["bpp"])
