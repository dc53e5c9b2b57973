"""The levels of multi-valued weights (algorithm 4-3): into which bin a weight falls, and what the bin stands for.

All tables are symmetric, so the edges and magnitudes of the non-negative half are enough to define one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oarseg.errors import ConfigError
from oarseg.inference.engines.packed.layout import MOST_LEVELS

PRINTED = (2, 3, 5, 7, 15, 31)
RANGE = 0.9
SCHEMES = ("printed", "centres", "layer", "channel", "learned")
MOST = MOST_LEVELS - 1


@dataclass(frozen=True)
class Levels:
    """A table of n levels.

    ``edges``: rising, of absolute values; a value on an edge falls into the bin below it. ``magnitudes``: of the bins
    that the edges part, one more than edges. Where the first is 0 the table has an odd number of levels, and otherwise
    (binary weights) zero counts as positive. Beyond the last edge a weight saturates.
    """

    edges: tuple[float, ...]
    magnitudes: tuple[float, ...]

    @property
    def zero(self) -> int:
        """How many levels are negative: the code of zero, where there is a zero."""
        return len(self.magnitudes) - (self.magnitudes[0] == 0)

    @property
    def values(self) -> tuple[float, ...]:
        """All levels, rising: the code of a level is its place here."""
        negative = tuple(-m for m in reversed(self.magnitudes) if m)
        return negative + self.magnitudes

    def codes(self, weight: Tensor) -> Tensor:
        """Return the code of each weight: uint8, of the weight's shape."""
        edges = torch.tensor(self.edges, dtype=weight.dtype, device=weight.device)
        place = torch.bucketize(weight.abs().contiguous(), edges)
        shift = int(self.magnitudes[0] != 0)
        code = torch.where(weight < 0, self.zero - shift - place, self.zero + place)
        return code.to(torch.uint8)


def table(count: int, scheme: str) -> Levels:
    """Return the table of ``count`` levels of a scheme.

    Args: ``count``: 2, or odd up to 255. ``scheme``: what a bin stands for, and which range is divided:

    - "printed": the published tables. [-0.45, 0.45] in steps of 0.9 / n, rounded to two decimals as printed; edges at
      half a step, three halves, ...; a bin's value is its inner edge, but binary weights are -1 and 1 and ternary ones
      -1, 0 and 1. For 2, 3, 5, 7, 15 and 31 levels.
    - "centres": the same bins, each standing for its centre.
    - "layer", "channel", "learned": in units of a scale, which is the layer's, each kernel's, or learned with the
      weights (see :class:`oarseg.compression.FakeQuantize`); n equal bins, each standing for its centre.

    Raises ConfigError where there is no such table.
    """
    if scheme not in SCHEMES:
        raise ConfigError(f"scheme must be one of {', '.join(SCHEMES)}, not {scheme!r}")
    fixed = scheme in ("printed", "centres")
    if fixed and count not in PRINTED:
        raise ConfigError(f"scheme {scheme!r} has {', '.join(map(str, PRINTED))} levels, not {count}")
    if not (count == 2 or (count % 2 and 3 <= count <= MOST)):
        raise ConfigError(f"levels must be 2 or an odd number from 3 to {MOST}, not {count}")
    step = round(RANGE / count, 2) if fixed else 1.0
    half = [round((i + 0.5) * step, 6) for i in range((count - 1) // 2)]
    if scheme == "printed":
        return Levels(tuple(half), {2: (1.0,), 3: (0.0, 1.0)}.get(count, (0.0, *half)))
    if count == 2:
        return Levels((), (step / 2 if fixed else 1.0,))
    return Levels(tuple(half), tuple(round(i * step, 6) for i in range(len(half) + 1)))


def fitted_scale(weight: Tensor, levels: Levels, channel: int | None = None, steps: int = 50) -> Tensor:
    """Return the scale with the least squared error of ``levels`` times scale, found by trying ``steps`` ranges.

    ``channel``: a dimension of ``weight`` along which each index has its own scale; None for one scale for all. Zero
    weights do not count, as they are masked where a table has no zero.
    Returns: float32, of the weight's number of dimensions, of size 1 but along ``channel``.
    """
    rows = weight.detach().float()
    rows = rows.flatten()[None] if channel is None else rows.movedim(channel, 0).flatten(1)
    peak = rows.abs().amax(1, keepdim=True)
    peak = torch.where(peak > 0, peak, 1.0)
    values = torch.tensor(levels.values, device=rows.device)
    best, least = peak.clone(), torch.full_like(peak, torch.inf)
    for part in torch.linspace(1 / steps, 1, steps).tolist():
        scale = peak * part / levels.magnitudes[-1]
        error = (values[levels.codes(rows / scale).long()] * scale - rows).square()
        error = torch.where(rows == 0, 0.0, error).sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    shape = [1] * weight.ndim
    if channel is not None:
        shape[channel] = -1
    return best.view(shape)
