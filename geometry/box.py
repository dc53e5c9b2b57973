"""Boxes around organs, in the millimetres of :mod:`oarseg.geometry.grid` (D, H, W order)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oarseg.geometry.grid import Grid, Triple


@dataclass(frozen=True)
class Box:
    """From corner ``low`` to corner ``high``, mm."""

    low: Triple
    high: Triple

    @property
    def size(self) -> Triple:
        return tuple(b - a for a, b in zip(self.low, self.high, strict=True))

    @property
    def centre(self) -> Triple:
        return tuple((a + b) / 2 for a, b in zip(self.low, self.high, strict=True))

    def enlarged(self, margin: Triple, field: Triple) -> Box:
        """The box corrected for stage 2: ``margin`` mm more on each side, and at least ``field`` mm in size.

        The field is the rule and the margin the exception: nearly every organ is seen at the scale the network was
        trained at, and only a box too large for the field is shown at a smaller one.
        """
        half = [max(s + 2 * m, f) / 2 for s, m, f in zip(self.size, margin, field, strict=True)]
        low = tuple(c - h for c, h in zip(self.centre, half, strict=True))
        high = tuple(c + h for c, h in zip(self.centre, half, strict=True))
        return Box(low, high)

    def jittered(self, jitter: float, random: np.random.RandomState) -> Box:
        """Each of the six faces moved by up to ``jitter`` mm, as stage 1 would misplace them; never inside out."""
        low = [a + d for a, d in zip(self.low, random.uniform(-jitter, jitter, 3), strict=True)]
        high = [b + d for b, d in zip(self.high, random.uniform(-jitter, jitter, 3), strict=True)]
        return Box(
            tuple(min(a, b - 1) for a, b in zip(low, high, strict=True)),
            tuple(max(b, a + 1) for a, b in zip(low, high, strict=True)),
        )

    def grid(self, shape: tuple[int, int, int]) -> Grid:
        """The box divided into ``shape`` voxels."""
        return Grid(self.low, tuple(s / n for s, n in zip(self.size, shape, strict=True)), tuple(shape))


def box_of_mask(mask: np.ndarray, grid: Grid) -> Box | None:
    """The tight box around the non-zero voxels of ``mask`` (D, H, W) on ``grid``; None where there are none."""
    low, high = [], []
    for axis in range(3):
        hit = np.flatnonzero(np.asarray(mask).any(axis=tuple(a for a in range(3) if a != axis)))
        if hit.size == 0:
            return None
        low.append(float(grid.origin[axis] + hit[0] * grid.spacing[axis]))
        high.append(float(grid.origin[axis] + (hit[-1] + 1) * grid.spacing[axis]))
    return Box(tuple(low), tuple(high))
