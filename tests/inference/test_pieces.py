"""What of a mask is the organ: one piece, or for loops of bowel all but noise."""

from __future__ import annotations

import numpy as np

from oarseg.inference.localize import pieces_of
from oarseg.sites import load_site

PELVIS = load_site("pelvis")


def mask() -> np.ndarray:
    """Pieces of 216, 64 and 1 voxels; the last two touch nothing."""
    out = np.zeros((24, 24, 24), dtype=bool)
    out[1:7, 1:7, 1:7] = True
    out[12:16, 12:16, 12:16] = True
    out[20, 20, 20] = True
    return out


def test_bowel_keeps_its_loops_and_loses_noise() -> None:
    kept = pieces_of(PELVIS.organ("small_bowel"), mask())
    assert kept.dtype == np.int8 and kept.sum() == 216 + 64
    assert kept[13, 13, 13] and not kept[20, 20, 20]


def test_an_organ_of_one_piece_keeps_the_largest() -> None:
    assert pieces_of(PELVIS.organ("bladder"), mask()).sum() == 216


def test_nothing_stays_nothing() -> None:
    for key in ("small_bowel", "bladder"):
        assert not pieces_of(PELVIS.organ(key), np.zeros((8, 8, 8), dtype=bool)).any()
