"""How the measures moved while the models for the eye were trained, drawn from the table of docs/notebook/eye.md.

    python benchmarks/training_curve.py [--page docs/notebook/eye.md] [--out docs/notebook/eye-training.png]

Takes the rows of effort 0 whose set of pictures has at least two of them. Each set has a panel of its own, for figures
of different pictures do not compare.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import matplotlib
from tables import METRICS

from lapic.codec.evaluation.plots import STYLE

matplotlib.use("Agg")
from matplotlib import pyplot

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook"
MEASURES = ("psnr", "ssimulacra2", "ms_ssim_db", "lpips")
HEADING = "| set | shares in training | gigapixels | effort |"


def points_of(page: str) -> dict[str, list[tuple[str, float, list[float]]]]:
    """For each set of pictures its shares, gigapixels and BD-rates (in percent, as `MEASURES` are), by gigapixels.

    Raises:
        SystemExit: the page has no such table.
    """
    found = defaultdict(list)
    _, heading, rest = page.partition(HEADING)
    if not heading:
        raise SystemExit("the page has no table of shares, gigapixels and efforts")
    for line in rest.partition("\n\n")[0].splitlines()[2:]:
        name, shares, seen, effort, _, *rates = (cell.strip() for cell in line.strip("|").split("|"))
        if effort == "0":
            label = re.split(", |: ", shares.removeprefix("then "))[0].replace("`", "").replace(" / ", "/")
            found[name].append((label, float(seen), [float(rate) for rate in rates]))
    return {name: sorted(rows, key=lambda row: row[1]) for name, rows in found.items() if len(rows) > 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=NOTEBOOK / "eye.md")
    parser.add_argument("--out", type=Path, default=NOTEBOOK / "eye-training.png")
    given = parser.parse_args()
    sets = points_of(given.page.read_text())
    with pyplot.rc_context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(sets), sharey=True, squeeze=False, figsize=(3.2 * len(sets), 4), layout="constrained"
        )
        for axes, (name, rows) in zip(panels[0], sets.items(), strict=True):
            labels, seen, rates = zip(*rows, strict=True)
            for measure, values in zip(MEASURES, zip(*rates, strict=True), strict=True):
                axes.plot(seen, values, marker="o", markersize=4, label=METRICS[measure][0])
            for label, place in zip(labels, seen, strict=True):
                axes.text(place, 1, label, transform=axes.get_xaxis_transform(), rotation=90, fontsize=7,
                          va="top", ha="center", color="grey")  # fmt: skip
            axes.set_title(f"pictures {name}")
            axes.set_xlabel("gigapixels seen")
        low, high = panels[0][0].get_ylim()
        panels[0][0].set_ylim(low, high + (high - low) / 3)  # room for the shares
        panels[0][0].set_ylabel("BD-rate against AVIF, % (lower is better)")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(given.out, dpi=110)
    print(given.out)


if __name__ == "__main__":
    main()
