"""A phantom's label map as NIfTI and as an RTSTRUCT of a CT with the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from oarseg.dicom import CtGrid, Roi, SliceInstance, write_rtstruct
from oarseg.dicom.read.header import CT_IMAGE
from oarseg.sites import load_site

SITE = load_site()
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def ct_grid(shape: tuple[int, int, int], affine: np.ndarray) -> CtGrid:
    """The grid of a CT with axes slices, rows, columns, ``affine`` to RAS mm."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    header = Dataset()
    header.StudyInstanceUID = generate_uid()
    slices = tuple(
        SliceInstance(generate_uid(), CT_IMAGE, tuple((lps @ [k, 0, 0, 1])[:3]), str(k)) for k in range(shape[0])
    )
    return CtGrid(
        shape=shape,
        affine=affine,
        instances=slices,
        row_direction=tuple(lps[:3, 2] / spacing[2]),
        column_direction=tuple(lps[:3, 1] / spacing[1]),
        spacing_mm=tuple(spacing),
        series_uid=generate_uid(),
        frame_of_reference_uid=generate_uid(),
        warnings=(),
        header=header,
    )


@pytest.fixture
def save_plan() -> Callable:
    """``save_plan(path, label, affine, names=None)``: an RTSTRUCT of a label map (slices, rows, columns).

    ``names``: ROI name by organ key, where it is not the table's.
    """

    def save(path: Path, label: np.ndarray, affine: np.ndarray, names: dict | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rois = [
            Roi((names or {}).get(o.key, o.name), o.color, label == o.value)
            for o in SITE.organs
            if (label == o.value).any()
        ]
        write_rtstruct(path, ct_grid(label.shape, affine), rois)
        return path

    return save


@pytest.fixture
def save_map() -> Callable:
    """``save_map(path, label, affine)``: NIfTI."""

    def save(path: Path, label: np.ndarray, affine: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(label, affine), path)
        return path

    return save


@pytest.fixture
def scan(phantom) -> tuple[np.ndarray, np.ndarray]:
    """Label map and affine with axes slices, rows, columns, as DICOM is read: oblique, with unequal spacings."""
    shape = (44, 60, 64)
    turn = np.deg2rad(8)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    # Columns of the matrix: a step to the next slice, row, column, RAS.
    matrix = tilt @ np.array([[0, 0, -2.7], [0, -2.9, 0], [4, 0, 0]])
    affine = phantom.centred_affine(matrix, shape)
    return phantom.draw(shape, affine)[1], affine
