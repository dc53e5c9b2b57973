"""The readers, each with the files that it is given: what to draw, and what to do with it in a folder.

A target's ``read`` gets what its strategy drew and a work folder, writes it to ``work/in`` and calls the reader, which
may write to ``work/out`` only. It returns "read" or the name of the OarsegError (see :func:`fuzz_property.holds`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from experiments.benchmarks import fuzz_seeds as seeds
from experiments.benchmarks.fuzz_bytes import byte_changes, changed, json_files
from experiments.benchmarks.fuzz_dicom import files
from experiments.benchmarks.fuzz_packed import packed_files
from experiments.benchmarks.fuzz_property import Broken, holds
from experiments.benchmarks.fuzz_tables import csv_files, toml_files
from experiments.benchmarks.fuzz_zip import unpacked_from, zip_files
from oarseg.checksum import FILE, verified
from oarseg.errors import OutputError
from oarseg.sites import load_site

SITE = load_site()


@dataclass(frozen=True)
class Target:
    """``about``: what is read, for the page. ``draw``: of inputs. ``read``: see above."""

    name: str
    about: str
    draw: st.SearchStrategy
    read: Callable[[Any, Path], str]


# The CT series.

slice_files = [files(of_slice) for of_slice in seeds.ct_seeds()]
stray_files = st.one_of(
    st.none(), files(seeds.plan_seeds()), files([one for of_slice in seeds.ct_seeds() for one in of_slice]),
    st.binary(max_size=200), st.builds(changed, st.just(bytes(128) + b"DICM"), byte_changes),
)  # fmt: skip
# Most slices as they are: of four damaged ones only the first to be looked at is tried.
whole_files = [st.sampled_from(of_slice) for of_slice in seeds.whole_slices()]


@st.composite
def folders(draw: st.DrawFn) -> list[bytes]:
    """The slices of a series, some of them changed, and what lies beside them."""
    bad = draw(st.sampled_from([(0,), (1,), (3,), (0, 1), (0, 1, 2, 3)]))
    found = [draw(slice_files[n] if n in bad else whole_files[n]) for n in range(seeds.SLICES)]
    more = draw(st.one_of(st.none(), st.none(), stray_files))
    return found if more is None else [*found, more]


def read_series(contents: list[bytes], work: Path) -> str:
    """Read the CT, and where that works write an RTSTRUCT for it."""
    from oarseg.dicom import Roi, read_ct, write_rtstruct

    for n, content in enumerate(contents):
        (work / "in" / f"{n}.dcm").write_bytes(content)

    def read() -> None:
        volume = read_ct(work / "in")
        if volume.hu.dtype != np.int16 or volume.hu.shape != volume.shape or not np.isfinite(volume.affine).all():
            raise Broken(f"{volume.hu.dtype} {volume.hu.shape} {volume.shape}")
        if len(volume.instances) != volume.shape[0] or not np.linalg.det(volume.affine):
            raise Broken(f"{len(volume.instances)} instances, affine {volume.affine}")
        mask = np.zeros(volume.shape, bool)
        mask[:, 0:2, 0:2] = True
        write_rtstruct(work / "out" / "plan.dcm", volume, [Roi("Brainstem", (255, 0, 0), mask)])

    return holds(read, work)


# The RTSTRUCT.


def read_plan(content: bytes, work: Path) -> str:
    """Draw the organs on the CT's grid, and look for the RTSTRUCT's series."""
    from oarseg.datasets.convert.structure_sets import _referenced
    from oarseg.dicom.read.structure_set import is_rtstruct, load_structure_set, read_rtstruct
    from oarseg.geometry.label_map import LabelMap
    from oarseg.sites.roi_names import load_names

    path = work / "in" / "plan.dcm"
    path.write_bytes(content)
    affine = np.array([[0, 0, -2, 10], [0, -2, 0, -20], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    grid = LabelMap(np.zeros((seeds.SLICES, seeds.SIZE, seeds.SIZE), np.uint8), affine)

    def read() -> None:
        is_rtstruct(path)
        found = read_rtstruct(path, grid, SITE, load_names(SITE), may_lack_all=True)
        _referenced(load_structure_set(path))
        if found.label_map.label.shape != grid.label.shape or not set(found.organs) <= set(SITE.values):
            raise Broken(f"{found.label_map.label.shape} {found.organs}")

    return holds(read, work)


# Packed weights.


def read_packed(content: bytes, work: Path) -> str:
    """Arrays of the shapes and types that the file tells of."""
    from oarseg.compression import read_arrays

    path = work / "in" / "model.packed"
    path.write_bytes(content)

    def read() -> None:
        for name, array in read_arrays(path).items():
            if not isinstance(name, str) or not isinstance(array, np.ndarray):
                raise Broken(f"{name!r} {type(array)}")

    return holds(read, work)


# JSON: each reader with the name that its file must have, and its seeds.


def _json_readers() -> dict[str, tuple[str, list, Callable[[Path], object]]]:
    from oarseg.bundles.model_info import read as model_info
    from oarseg.cohort.cases import find_cases
    from oarseg.datasets import load_datalist
    from oarseg.datasets.convert.nnunet import list_nnunet
    from oarseg.datasets.convert.numbers import read_numbers
    from oarseg.datasets.convert.state import read_state
    from oarseg.datasets.silver_list import read_silver
    from oarseg.inference.engines.stored import read_table
    from oarseg.sites.roi_names import load_names

    def datalist(path: Path) -> None:
        for section in ("training", "validation"):
            load_datalist(path.parent, section, silver=True, organ="brainstem", expert_repeat=2)

    return {
        "datalist": ("dataset.json", [seeds.DATALIST], datalist),
        "cohort": ("dataset.json", [seeds.DATALIST], lambda path: list(find_cases(path, path.parent.parent / "out"))),
        "silver": ("silver.json", [seeds.SILVER], lambda path: read_silver(path.parent)),
        "names": ("names.json", [seeds.NAMES], lambda path: load_names(SITE, path)),
        "model info": ("model_info.json", [seeds.MODEL_INFO], model_info),
        "numbers": ("numbers.json", [seeds.NUMBERS], read_numbers),
        "state": ("conversion.json", [seeds.STATE], lambda path: read_state(path.parent, {"format": "dicom"})),
        "nnunet": ("dataset.json", seeds.NNUNET, lambda path: list_nnunet(path.parent, load_names(SITE))),
        "metadata": ("configs/metadata.json", [{"weights_sha256": "00"}], lambda path: verified(path.parents[1])),
        "ranges": ("ranges.json", [seeds.ranges_seed()], lambda path: read_table(path.parent)),
        "site": ("site.json", [seeds.site_seed()], lambda path: load_site(str(path))),
    }


JSON = _json_readers()
json_inputs = st.sampled_from(sorted(JSON)).flatmap(lambda name: st.tuples(st.just(name), json_files(JSON[name][1])))


def read_json(drawn: tuple[str, bytes], work: Path) -> str:
    name, content = drawn
    # What the lists name: they are looked for.
    for other in ("a.nii.gz", "b.nii.gz", FILE):
        (work / "in" / other).parent.mkdir(exist_ok=True)
        (work / "in" / other).write_bytes(b"")
    path = work / "in" / JSON[name][0]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return holds(lambda: JSON[name][2](path), work)


# CSV and TOML.


def read_csv(drawn: tuple[str, bytes], work: Path) -> str:
    from experiments.localization.store import read_boxes, read_shifts
    from oarseg.evaluation.scores import read_scores

    name, content = drawn
    path = work / "in" / "table.csv"
    path.write_bytes(content)
    readers = {"scores": read_scores, "boxes": lambda p: read_boxes(p, SITE), "shifts": lambda p: read_shifts(p, SITE)}
    return holds(lambda: readers[name](path), work)


def read_toml(content: bytes, work: Path) -> str:
    from oarseg.node.config import read_config

    for key in ("node.pem", "node.key", "ca.pem"):
        (work / "in" / key).write_bytes(b"")
    path = work / "in" / "node.toml"
    path.write_bytes(content)
    return holds(lambda: read_config(path), work)


# Zips of bundles.


def read_zip(content: bytes, work: Path) -> str:
    """Unpack with the checksum that fits: whoever makes a zip makes its checksum, too."""
    path = work / "in" / "fuzz_v0.1.0.zip"
    path.write_bytes(content)
    outcome = holds(lambda: unpacked_from(path, work / "out"), work)
    left = sorted(p.name for p in (work / "out").iterdir())
    if left != (["fuzz"] if outcome == "read" else []):
        raise Broken(f"{outcome}, but there is {left}")
    if outcome == OutputError.__name__:
        raise Broken("an error of the zip was taken for one of the disk")
    return outcome


TARGETS = {
    target.name: target
    for target in (
        Target("series", "DICOM CT series, and an RTSTRUCT written for what was read", folders(), read_series),
        Target("rtstruct", "RTSTRUCT", files(seeds.plan_seeds()), read_plan),
        Target("packed", "packed weights", packed_files(seeds.packed_seed()), read_packed),
        Target("json", f"JSON: {', '.join(JSON)}", json_inputs, read_json),
        Target("csv", "CSV tables of scores and of boxes", csv_files(), read_csv),
        Target("toml", "settings of the DICOM node", toml_files(), read_toml),
        Target("zip", "zips of bundles", zip_files(), read_zip),
    )
}


def shown(drawn: Any) -> str:
    """What was drawn, short."""
    text = json.dumps(drawn, default=repr)
    return text if len(text) <= 300 else text[:300] + "..."
