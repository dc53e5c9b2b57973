"""Does stage 1's box hold the organ? Measured case by case on the voxels of the reference.

A voxel is held when its centre lies in the box: only then can stage 2's answer be painted onto it. A clinical contour
that shows only part of an organ lies inside the organ's box anyway, so it lowers no share; it only makes the faces of
the box look far out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.localization.store import FACES, LEAST_SHARE, BoxRow, rule_of
from oarseg.datasets import load_datalist, output_name
from oarseg.errors import GeometryError, InputError
from oarseg.geometry.volume import Volume, hu_volume, turned
from oarseg.images.label_maps import read_label_map
from oarseg.images.read import read_image
from oarseg.inference import Pipeline, locate
from oarseg.inference.localize import Located
from oarseg.inference.two_stage import LOCALIZER
from oarseg.transforms import Box, Grid, box_of_mask


@dataclass(frozen=True, eq=False)
class LocatedCase:
    """A case after stage 1, in SPL orientation: ``image``, and ``truth`` (D, H, W) on its grid.

    ``labelled``: the organs that ``truth`` shows. ``located``: what stage 1 found, by organ key.
    """

    name: str
    image: Volume
    truth: np.ndarray
    labelled: Sequence[str]
    located: dict[str, Located]

    @property
    def grid(self) -> Grid:
        return self.image.grid

    def mask(self, pipeline: Pipeline, key: str) -> np.ndarray:
        """The reference of one organ. Raises InputError where it is empty."""
        value = pipeline.site.organ(key).value
        mask = self.truth == value
        if not mask.any():
            raise InputError(f"{self.name}: listed as labelling {key}, but no voxel is {value}; correct the datalist")
        return mask


def located_case(pipeline: Pipeline, case: dict) -> LocatedCase:
    """Read a case of a datalist and run stage 1. Raises GeometryError where image and labels lie on different grids."""
    ct, reference = read_image(case["image"]), read_label_map(case["label"], turn=False)
    if ct.hu.shape != reference.label.shape or not np.allclose(ct.affine, reference.affine, atol=1e-3):
        raise GeometryError(
            f"{Path(case['label']).name}: labels {reference.label.shape} lie on another grid than the image "
            f"{ct.hu.shape}; resample them to it"
        )
    image = hu_volume(ct.hu, ct.affine)
    found = locate(image, pipeline.networks[LOCALIZER], pipeline.site)
    return LocatedCase(case_name(case), image, turned(reference.label, ct.affine), case["labelled"], found)


def case_name(case: dict) -> str:
    """What a case of a datalist is called: its image's file name without extension."""
    return output_name({"filename_or_obj": case["image"]})["subject"]


def section_cases(dataset_dir: str | Path, section: str) -> list[tuple[dict, set[str]]]:
    """Cases of a section and which of their labels are silver.

    Silver labels are taken in training only: elsewhere they would score what they were not made for.
    """
    own = load_datalist(dataset_dir, section)
    if section != "training":
        return [(case, set()) for case in own]
    both = load_datalist(dataset_dir, section, silver=True)
    return [(case, set(case["labelled"]) - set(plain["labelled"])) for case, plain in zip(both, own, strict=True)]


def coverage_rows(pipeline: Pipeline, case: dict, section: str, silver: set[str]) -> Iterator[BoxRow]:
    """One row for each organ that the case labels."""
    done = located_case(pipeline, case)
    cm3 = float(np.prod(done.grid.spacing)) / 1000
    for key in done.labelled:
        mask = done.mask(pipeline, key)
        organ = pipeline.site.organ(key)
        named = (section, done.name, key, key in silver)
        volume, measured = round(mask.sum() * cm3, 2), (rule_of(organ), weights_name(pipeline))
        if key not in done.located:
            yield BoxRow(*named, False, volume, 0.0, 0.0, *[math.nan] * 15, *measured)
            continue
        box = done.located[key].box
        shares = (
            share_inside(mask, done.grid, box.enlarged(organ.margin_mm, field))
            for field in (organ.field_mm, (0.0, 0.0, 0.0))
        )
        faces = face_distances(box, box_of_mask(mask, done.grid))
        needs = needed(mask, done.grid, box)
        yield BoxRow(*named, True, volume, *shares, *box.size, *faces, *needs, *measured)


def weights_name(pipeline: Pipeline) -> str:
    """The first 12 hexadecimal digits of the weight file's SHA-256."""
    return pipeline.weights["sha256"][:12]


def share_inside(mask: np.ndarray, grid: Grid, box: Box) -> float:
    """Share of the voxels of ``mask`` (D, H, W) on ``grid`` whose centre lies in ``box``."""
    within = []
    for axis in range(3):
        centres = grid.centres(axis)
        within.append(np.flatnonzero((centres >= box.low[axis]) & (centres <= box.high[axis])))
    return float(mask[np.ix_(*within)].sum() / mask.sum())


def face_distances(box: Box, reference: Box) -> tuple[float, ...]:
    """How far each face of ``box`` lies outside of ``reference``, mm, in the order of ``FACES``."""
    out = []
    for axis in range(3):
        out += [reference.low[axis] - box.low[axis], box.high[axis] - reference.high[axis]]
    return tuple(out)


def needed(mask: np.ndarray, grid: Grid, box: Box, share: float = LEAST_SHARE) -> tuple[float, ...]:
    """By how much each face of ``box`` must move outwards so that the box holds ``share`` of ``mask``, mm.

    Each face may leave out a sixth of the voxels that may be missed, so the six together leave out no more than
    ``1 - share`` of them, whichever voxels these are. Order of ``FACES``; negative where there is room to spare.
    """
    spare = math.floor(mask.sum() * (1 - share) / len(FACES) + 1e-9)
    out = []
    for axis in range(3):
        counts = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        centres = grid.centres(axis)
        # The first voxel, counted from either end, before which no more than the spared ones lie.
        first = int(np.argmax(np.cumsum(counts) > spare))
        last = len(counts) - 1 - int(np.argmax(np.cumsum(counts[::-1]) > spare))
        out += [float(box.low[axis] - centres[first]), float(centres[last] - box.high[axis])]
    return tuple(out)
