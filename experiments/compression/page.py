"""``docs/compression.md`` and its figures, from what is stored of chains.

    python -m experiments.compression.page --store FOLDER NAME    keep a chain's report as results/NAME.json
    python -m experiments.compression.page                        docs/compression.md and docs/figures/compression_*.png
    python -m experiments.compression.page --check                only whether docs/compression.md is what is stored

``NAME`` is BUNDLE, or BUNDLE.CONTROL for a chain to compare with (see :mod:`experiments.compression.stored`).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.compression.published import SAVED_LEGEND, SOURCE, dice, sections
from experiments.compression.published import sizes as sizes_figure
from experiments.compression.shipped import shipped_section
from experiments.compression.stored import RESULTS, bundles, controls_of, read_stored, store
from oarseg.compression import figures
from oarseg.compression.report_text import MIB, first, start_line, steps_table, table
from oarseg.errors import ConfigError, OarsegError
from oarseg.files import write_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, PICTURE, SIZES = "compression.md", "figures/compression_{}.png", "sizes.json"
HEAD = """# Compression

What compression costs in Dice: of the networks that ship, and step by step. To compress a network of your own, see the
[tutorial](tutorials/compress.md)."""
INTRODUCTION = """## How to read the tables

A chain starts from the trained weights of a bundle. It prunes channels in steps and removes them, prunes small weights
in steps, and rounds the rest to few levels. The bundle's own training retrains the network after each step
(`python -m monai.bundle run compress`). The tables give the number of these retraining steps; the published method
takes 2000. Rows with a name after a comma are controls: other ways to a network as small.

- No name, `random`, `schemes`: from the weights that ship, retrained on two CPU cores (learning rate 0.0003).
- `gpu training`: from other weights, except for the mandible.
- `narrow 12`, `narrow 16`: trained from random weights.
- `narrow 12 pruned`: from `narrow 12`, packed to 55 levels. `narrow 8 retrained`: from the result of that, after 1600
  more steps (learning rate 0.001, both).
- `random`: channels drawn by chance, once.
- `schemes`: the brainstem's network, rounded with a range for each layer or each channel instead of the published
  tables. Weights that the threshold set to zero stay zero.

A Dice of 0 between steps that found the organ means: after so few steps the network drew nothing in validation.

Written by `python -m experiments.compression.page` from `experiments/compression/results`; do not edit."""


def page(stored: Mapping[str, dict], sizes: Mapping | None = None, shipped: Sequence[str] = ()) -> str:
    """The whole page. ``stored``: contents by name; ``sizes``: of :func:`experiments.compression.sizes.size_table`;
    ``shipped``: paragraphs of :func:`experiments.compression.shipped.shipped_section`.

    Raises ConfigError where nothing is stored.
    """
    if not stored:
        raise ConfigError("no chain is stored; store one: python -m experiments.compression.page --store FOLDER NAME")
    localizer, *organs = (name for name in bundles())
    parts = [HEAD, *takeaway(stored, localizer), *shipped, INTRODUCTION, SAVED_LEGEND]
    if localizer in stored:
        parts += _localizer(localizer, stored)
    if sizes:
        parts += ["## Packed sizes", _sizes(sizes)]
    found = [name for name in organs if name in stored]
    if found:
        parts += ["## Stage 2", f"![Dice against size]({PICTURE.format('organs')})"]
    for name in found:
        parts += [f"### {name}", steps_table(stored[name], controls_of(stored, name))]
    return "\n\n".join(parts) + "\n"


def takeaway(stored: Mapping[str, dict], localizer: str) -> list[str]:
    """Return the paragraphs on pruning beside narrow networks; none where the localizer's chain is not stored."""
    if localizer not in stored:
        return []
    whole, cut = first(stored[localizer]), _cut(stored[localizer])
    if cut is None:
        return []
    points = [f"- The localizer with channels pruned: {_beside(cut, whole)}."]
    for title, chain in controls_of(stored, localizer).items():
        if title == "random" and (drawn := _cut(chain)):
            points.append(f"- With channels drawn by chance, once: {_beside(drawn, whole)}.")
        elif re.fullmatch(r"narrow \d+", title):
            points.append(f"- Trained narrow, from random weights (`{title}`): {_beside(first(chain), whole)}.")
    smaller = [first(chain) for title, chain in controls_of(stored, localizer).items() if title.startswith("narrow")]
    if any(row["parameters"] < cut["parameters"] and row["dice"] >= cut["dice"] for row in smaller):
        points.append("- **Pruning does not beat a narrow network:** one is smaller and scores no less.")
    return ["## What to take away", "\n".join(points)]


def _cut(content: Mapping) -> Mapping | None:
    """The results after the removal of channels."""
    return next((step["results"] for step in content["steps"] if step["stage"] == "remove"), None)


def _beside(found: Mapping, whole: Mapping) -> str:
    share, change = found["parameters"] / whole["parameters"], found["dice"] - whole["dice"]
    return f"{share:.0%} of the parameters, Dice {change:+.3f} against {whole['dice']:.3f}"


def write_pictures(docs: Path, stored: Mapping[str, dict]) -> None:
    """Draw the page's figures. Raises OutputError."""
    localizer, *organs = bundles()
    drawn = {}
    if localizer in stored:
        drawn["dice"] = dice(stored[localizer], controls_of(stored, localizer))
        drawn["weights"] = figures.weights(stored[localizer])
    chains = {name: stored[name] for name in organs if name in stored}
    if chains:
        drawn["organs"] = sizes_figure(chains)
    for name, figure in drawn.items():
        figures.save(figure, docs / PICTURE.format(name))


def main(argv: list[str] | None = None) -> int:
    """Write docs/compression.md and its figures from the stored results, compare it, or store a chain's report."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--store", nargs=2, metavar=("FOLDER", "NAME"), help="keep the report of the chain in FOLDER")
    what.add_argument("--check", action="store_true", help="write nothing; 1 where the page is not what is stored")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the stored results")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder to write to")
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    if args.store:
        print(f"wrote {store(Path(args.store[0]), args.store[1], args.results)}")
        return 0
    stored, target = read_stored(args.results), args.docs / PAGE
    text = page(stored, _read_sizes(args.results / SIZES), shipped_section())
    if args.check:
        same = target.is_file() and target.read_text(encoding="utf-8") == text
        print(f"{target.name} {'is' if same else 'is not'} what the stored results say")
        return 0 if same else 1
    write_pictures(args.docs, stored)
    write_text(target, text)
    print(f"wrote {target}")
    return 0


def _localizer(name: str, stored: Mapping[str, dict]) -> list[str]:
    content = stored[name]
    parts = [f"## Stage 1: {name}", f"{start_line(content)} {SOURCE.format(source=content['published']['source'])}"]
    parts += [f"![{title}]({PICTURE.format(key)})" for key, title in (("dice", "Dice"), ("weights", "Weights"))]
    for title, text in sections(content, controls_of(stored, name)).items():
        parts += [f"### {title}", text]
    return parts


def _sizes(content: Mapping) -> str:
    rows = []
    for row in content["rows"]:
        mib = [f"{row[key] / MIB:.2f}" for key in ("bits", "packed")]
        rows.append([row["levels"], row["scheme"], f"{row['sparsity']:.3f}", *mib])
    before = (
        f"Weights of the localizer (SHA-256 {content['weights_sha256'][:12]}, {content['bytes'] / MIB:.2f} MiB as "
        "float32), neither pruned nor retrained:"
    )
    return before + "\n\n" + table(["levels", "scheme", "sparsity", "MiB in bits", "MiB packed"], rows)


def _read_sizes(path: Path) -> dict | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _sizes(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}); run python -m experiments.compression.sizes") from error
    return content


if __name__ == "__main__":
    sys.exit(main())
