"""Changes of the code that the tests must notice: `python -m tests.mutations [WORD]` tries each one, or those with a
word in their name, on a copy of the repository.

Not part of the suite: run it after work on the code or the tests that it names. Exit code 1 means that a test passed in
spite of a change, or that a text to change does not occur exactly once any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("bitstream", "codec", "training", "lapic", "tests", "examples", "pyproject.toml")
CODE = ("bitstream", "codec", "training")


class Mutation(NamedTuple):
    """`before`, which occurs once in the code, becomes `after`; then `test`, below tests/, must fail."""

    name: str
    before: str
    after: str
    test: str


MUTATIONS = [
    Mutation("search: pieces without their surroundings", "HALO = 2  # latents around", "HALO = 0  # latents around",
             "codec/test_search.py::test_a_piece_knows_what_its_tiles_hold_around_it"),
    Mutation("search: small symbols at scale index 0 kept",
             "return symbol.masked_fill((index == 0) & (symbol.abs() <= OUTLIER_MAX), 0)", "return symbol",
             "codec/test_search.py::test_the_search_leaves_no_small_symbols_where_none_are_expected"),
    Mutation("context: symbols seen up to 1000", "SYMBOL_SEEN = 255", "SYMBOL_SEEN = 1000",
             "codec/test_context.py::test_equals_plain_integer_arithmetic_up_to_the_limits"),
    Mutation("context: less precise products allowed", "not keeps_float32(x.device.type)", "False",
             "codec/test_context.py::test_a_host_that_allows_less_precise_products_gets_the_same_integers"),
    Mutation("hyper: means up to 32767", "MEAN_MAX = 512 * MEAN_ONE - 1", "MEAN_MAX = 1024 * MEAN_ONE - 1",
             "codec/test_context.py::test_equals_plain_integer_arithmetic_up_to_the_limits"),
    Mutation("decoder: all tiles above kept",
             "if tile.bottom > first:\n                self.held[tile] = _rows_from(first, *part)",
             "self.held[tile] = part",
             "codec/test_bands.py::test_tiles_above_are_dropped"),
    Mutation("analysis: the last layer as a whole",
             "return in_strips(WithLinear(self.leave, self.linear, rows), x, axis=1)",
             "return WithLinear(self.leave, self.linear, rows)(x)",
             "codec/test_second.py::test_networks_in_strips_are_those_of_the_whole"),
    Mutation("threads: operations shared while no core is free", "if torch.get_num_threads() == 1:", "if False:",
             "codec/test_threads.py::test_work_is_shared_within_operations_while_cores_are_free"),
    Mutation("products: bytes of a weight kept when it changes", "or _kept[weight][0] != version", "or False",
             "codec/test_products.py::test_weights_that_change_are_seen"),
    Mutation("container: a chunk may occur twice", 'raise Error(f"chunk {kind!r} occurs twice")', "pass",
             "bitstream/test_container.py::test_a_chunk_occurs_once"),
    Mutation("entropy: escapes may be left over", "self.escapes.left\n            or not all(", "not all(",
             "bitstream/test_entropy.py::test_escapes_that_are_left_over_are_an_error"),
    Mutation("salvage: the border of a hole not filled",
             "missing.grow(1, latents.bounds).times(unit)", "missing.times(unit)",
             "codec/test_salvage.py::test_the_border_of_a_hole_is_filled_with_it"),
    Mutation("filter: sent though it does not pay", "if gain <= 8 * OVERHEAD:", "if False:",
             "codec/test_postfilter.py::test_a_filter_is_sent_only_if_it_pays"),
    Mutation("filter: its overhead not counted", "if gain <= 8 * OVERHEAD:", "if gain <= 0:",
             "codec/test_postfilter.py::test_a_filter_is_sent_only_if_it_pays"),
    Mutation("regions: a hyper-latent has the quality of its first place",
             "return parts.sum((2, 4)) // there.unflatten(1, (-1, factor)).sum((2, 4))",
             "return parts[:, :, 0, :, 0]",
             "codec/test_golden.py::test_symbols[dtype0-1-regions-q40.lapic]"),
    Mutation("regions: the synthesis does not follow", "qualities = latents.qualities_at(input_rect)",
             "qualities = quality",
             "codec/test_golden.py::test_the_reference_decoder_makes_the_same_views[2-0-regions-q40.lapic]"),
    Mutation("regions: gradients weighed all alike",
             "levels.spread_to(2 * self.weight / self.gradient_scale, error.shape[2:])",
             "2 * self.weight.mean() / self.gradient_scale",
             "codec/test_roi.py::test_the_search_weighs_errors_by_their_places"),
    Mutation("filter: fine detail is smoothed away",
             "found.detail_wanted() if keep_detail else -math.inf", "-math.inf",
             "codec/test_postfilter.py::test_a_filter_for_the_eye_keeps_fine_detail_that_the_original_has"),
    Mutation("filter: detail kept that the original lacks", "min(LEAST_DETAIL, original / decoded)", "LEAST_DETAIL",
             "codec/test_postfilter.py::test_a_filter_for_the_eye_keeps_fine_detail_that_the_original_has"),
    Mutation("regions: the filter weighs all alike",
             "features, error, detail = features * root, error * root, detail * root", "pass",
             "codec/test_roi.py::test_the_filter_is_fitted_to_where_errors_count"),
    Mutation("regions: a map of any size taken", "if QUALITY_MAP in self.chunks and len(", "if False and len(",
             "codec/test_roi.py::test_a_map_of_another_size_is_refused"),
    Mutation("regions: the file grows", "if trials.draft(Place(place.model, lowest)) > trials.target.reach:",
             "if False:", "codec/test_roi.py::test_a_region_never_makes_the_file_larger"),
    Mutation("regions: qualities without end",
             "room = max(0, math.floor(min(BEYOND * model.qualities[1], 100) - quality))", "room = 100",
             "codec/test_roi.py::test_qualities_stay_where_the_model_is_sane"),
    Mutation("files: the umask disregarded", "return 0o666 & ~mask", "return 0o666",
             "codec/test_files.py::test_a_new_file_has_the_permissions_of_the_umask"),
    Mutation("files: permissions left as they are made", "beside.chmod(_mode(path))", "pass",
             "codec/test_files.py"),
    Mutation("planes: hidden colours coded", "if ALPHA in chunks and not keep_hidden:", "if False:",
             "codec/test_planes.py::test_colours_that_alpha_hides_cost_nothing"),
    Mutation("planes: grey looked for in a few rows", "for part in (pixels[::SPARSE], pixels)",
             "for part in (pixels[::SPARSE],)", "codec/test_planes.py::test_one_pixel_of_colour_makes_it_colour"),
    Mutation("container: grey as RGB comes back as grey", "self.chunks.get(MODE) == AS_RGB", "False",
             "codec/test_planes.py::test_grey_in_colour_modes_is_coded_as_grey_and_comes_back_in_colour"),
]  # fmt: skip


def survives(mutation: Mutation, folder: Path) -> str:
    """Why a mutation counts as unnoticed, empty if its test fails as it should. `folder` holds the copy."""
    files = [path for part in CODE for path in (folder / part).rglob("*.py")]
    places = [path for path in files for _ in range(path.read_text().count(mutation.before))]
    if len(places) != 1:
        return f"the text occurs {len(places)} times"
    original = places[0].read_text()
    places[0].write_text(original.replace(mutation.before, mutation.after))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{mutation.test}"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        code = subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode
    finally:
        places[0].write_text(original)
    return {0: "the test passes", 1: ""}.get(code, f"pytest ends with {code}: the test cannot run")


def main(word: str = "") -> int:
    """Try the mutations with `word` in their names; the number of those that survive."""
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, symlinks=True)  # lapic/ links to the packages beside it
            else:
                shutil.copy(ROOT / part, folder / part)
        for mutation in MUTATIONS:
            if word in mutation.name:
                reason = survives(mutation, folder)
                failed += bool(reason)
                print(
                    f"{'SURVIVES' if reason else 'noticed '} {mutation.name}{f': {reason}' if reason else ''}",
                    flush=True,
                )
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:2])))
