"""The packed networks that ship: their bytes, and their Dice beside that of the networks they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from experiments.scores.findings import paired
from experiments.scores.tables import RESULTS, stored_rows
from oarseg.bundles import FOLDER
from oarseg.checksum import sha256
from oarseg.compression.report_text import table
from oarseg.compression.structure import widths_of
from oarseg.inference.engines.packed.layout import SUFFIX
from oarseg.inference.engines.packed.reading import read_arrays
from oarseg.sites import Site, load_site
from oarseg.training.weights import read_state

COMPRESSED = RESULTS / "compressed"
BUNDLE = FOLDER / "hn_ct_two_stage"
TITLES = {"stage1": "Stage 1", "two_stage": "Two stages"}
# How the packed localizer with this SHA-256 was made: its file does not say.
ORIGIN_OF = "a5ae84a4cc483a35ae04565ab7f7e85c82e7c8207ee2abe2fafbaa401c3d7b53"
ORIGIN = (
    "It was pruned, for its speed, from the localizer of width 12 (`long12` in [results](results.md)), packed to 55 "
    "levels: a third of each layer's channels in four steps of 300 optimizer steps (`narrow 12 pruned` below), then "
    "1600 more steps (learning rate 0.001; `narrow 8 retrained`). It was chosen from three such sets after their "
    "validation scores had been seen. The networks of the organs were neither pruned nor retrained. They have 127 "
    "levels, because with 63 and this localizer the left optic nerve of the one validation case that has it lost 0.02."
)
# Not BatchNorm's statistics: the published sizes count parameters.
TRAINED = (".weight", ".bias")
MB = 1e6


def shipped_section(bundle: Path = BUNDLE, results: Path = RESULTS, site: Site | None = None) -> list[str]:
    """Paragraphs of the page; none where the bundle has no packed networks.

    ``results``: folder of the shipped scores, and in it ``compressed`` of those of the packed networks.
    """
    folder = bundle / "models" / "compressed"
    packed = {path.stem: path.stat().st_size for path in folder.glob("*" + SUFFIX)}
    if not packed:
        return []
    site = site or load_site()
    parts = [
        "## What ships",
        "`hn_ct_two_stage/models/compressed` holds all nine networks. `oarseg compress collection` rounded them to "
        "levels; they run in 8-bit arithmetic, with the activation ranges that `oarseg compress calibrate` found on "
        f"training cases. {_changes(folder, bundle)}",
        "The number of levels of stage 1 was chosen on training cases, with earlier weights, after 31 levels had "
        "lowered the Dice of the eyes in the one validation case that has them. Sizes: bytes of the file; for float32 "
        "four bytes a parameter.",
        _sizes(packed, bundle, site),
    ]
    for method, title in TITLES.items():
        before, after = stored_rows(method, results), stored_rows(method, results / COMPRESSED.name)
        if before and after:
            parts += [f"{title}, Dice on the validation cases:", paired(before, after, ("PyTorch", "compressed"), site)]
    return parts


def _changes(folder: Path, bundle: Path) -> str:
    """What was done to the networks besides rounding."""
    file = folder / f"localizer{SUFFIX}"
    packed = read_arrays(file)
    kept = sum(array.size for name, array in packed.items() if name.endswith(TRAINED))
    whole = _parameters(read_state(bundle / "models" / "model.pt"), "localizer.")
    if kept == whole:
        return "Nothing was pruned or retrained."
    width = widths_of(packed)["encoder"][0][0]
    other = f"{kept} parameters instead of {whole}, and width {width}"
    text = f"Stage 1 is not the network of the uncompressed bundle: it has {other}."
    return f"{text} {ORIGIN}" if sha256(file) == ORIGIN_OF else text


def _parameters(state: Mapping[str, Tensor], prefix: str) -> int:
    return sum(v.numel() for k, v in state.items() if k.startswith(prefix) and k.endswith(TRAINED))


def _sizes(packed: dict[str, int], bundle: Path, site: Site) -> str:
    state = read_state(bundle / "models" / "model.pt")
    rows = []
    for name in ["localizer", *(organ.key for organ in site.organs)]:
        prefix = "localizer." if name == "localizer" else f"organs.{name}."
        whole = 4 * _parameters(state, prefix)
        rows.append([name, f"{whole / MB:.2f}", f"{packed[name] / MB:.2f}", f"1/{whole / packed[name]:.1f}"])
    total, small = sum(float(row[1]) for row in rows), sum(packed.values()) / MB
    rows.append(["all", f"{total:.2f}", f"{small:.2f}", f"1/{total / small:.1f}"])
    return table(["network", "float32 MB", "packed MB", "ratio"], rows)
