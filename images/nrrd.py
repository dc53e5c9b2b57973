"""NRRD: a CT read in the file's own numbers."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np

from oarseg.errors import GeometryError
from oarseg.geometry.check_ct import check_shape

# NRRD's names of world axes, and the signs that turn them into RAS.
SPACES = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}


def load_nrrd(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the array (i, j, k) in the file's numbers, its RAS affine, and warnings.

    Raises InputError or GeometryError if the file cannot hold a CT.
    """
    header = nrrd.read_header(str(path))
    check_shape(tuple(int(n) for n in header["sizes"]), path.name)
    space = str(header.get("space", "")).lower()
    absent = [field for field in ("space", "space directions", "space origin") if field not in header]
    if absent or space not in SPACES:
        found = f"without {absent[0]!r}" if absent else f"space {space!r}"
        raise GeometryError(
            f"{path.name}: NRRD {found}, expected space left-posterior-superior or right-anterior-superior with "
            "directions and origin, or left and right are unknown; export it again"
        )
    array, _ = nrrd.read(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(header["space directions"], dtype=float).T
    affine[:3, 3] = np.asarray(header["space origin"], dtype=float)
    return array, np.diag([*SPACES[space], 1.0]) @ affine, []
