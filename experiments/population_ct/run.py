"""Make a population-average head-and-neck CT: ``python -m experiments.population_ct.run DATASET_DIR OUT_DIR``.

A decathlon-style dataset goes in; ``OUT_DIR/ct/*.dcm`` and ``OUT_DIR/expected.json`` (where the organs lie in it) come
out. No patient's image is in them: every voxel is the mean of at least ``MIN_CASES`` patients.

Cases are aligned by an affine transform of their organ centroids, then by demons (J.-P. Thirion, Med. Image Anal. 2,
1998, with the symmetric forces of T. Vercauteren et al., NeuroImage 45, 2009) to the running mean, round after round.
Index order is x, y, z, towards left, posterior, superior; millimetres are LPS throughout. Nothing is random.
45 cases take about 12 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from experiments.population_ct.io import AIR, TISSUE_HU, Case, load_case, load_rows, write_series
from oarseg.errors import ConfigError, OutputError
from oarseg.sites.table import load_site

MIN_CASES = 20
MAX_SLICES = 90
# Demons sees fat, gland, muscle and bone as steps of about the same size, and air as one value.
SEEN_HU = (-1000.0, -250.0, -130.0, 130.0, 900.0)
SEEN_AS = (0.0, 0.35, 0.45, 0.95, 1.5)
ROUNDS = ((40, 0), (30, 10))  # demons steps at half and at full resolution, round by round


@dataclass(frozen=True)
class Grid:
    """Where the average is computed: voxels, mm per voxel, LPS mm of the first voxel; 0 mm is amid the organs."""

    shape: tuple[int, int, int] = (152, 152, 108)
    spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)
    origin: tuple[float, float, float] = (-151.0, -121.0, -180.0)

    def points(self) -> np.ndarray:
        """LPS mm of every voxel, (3, x, y, z) float32."""
        axes = [o + s * np.arange(n) for o, s, n in zip(self.origin, self.spacing, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


@dataclass(frozen=True)
class Average:
    """``hu`` (x, y, z) int16, its spacing and origin (LPS mm), the number of patients, and a row per organ."""

    hu: np.ndarray
    spacing: np.ndarray
    origin: np.ndarray
    cases: int
    organs: dict[str, dict]


def mean_shape(centroids: np.ndarray, rounds: int = 5) -> np.ndarray:
    """Mean of (cases, organs, 3) mm after each is turned and shifted, not scaled, onto the mean; centred on 0."""
    shapes = centroids - centroids.mean(1, keepdims=True)
    mean = shapes.mean(0)
    for _ in range(rounds):
        u, _, vt = np.linalg.svd(np.einsum("coi,oj->cij", shapes, mean))
        u[:, :, -1] *= np.sign(np.linalg.det(u @ vt))[:, None]  # a turn, never a mirror
        mean = (shapes @ u @ vt).mean(0)
    return mean


def affine_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The 4x4 affine that takes (organs, 3) ``source`` closest to ``target``, least squares."""
    solved = np.linalg.lstsq(np.c_[source, np.ones(len(source))], target, rcond=None)[0]
    return np.vstack([solved.T, [0, 0, 0, 1]])


def indices(case: Case, points: np.ndarray) -> np.ndarray:
    """Voxel coordinates (3, x, y, z) in the case of the average's ``points``, through shift, warp and affine."""
    matrix = np.linalg.inv(case.affine) @ case.warp
    moved = points if case.shift is None else points + case.shift
    matrix = matrix.astype(np.float32)
    return np.tensordot(matrix[:3, :3], moved, 1) + matrix[:3, 3, None, None, None]


def sample(case: Case, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HU of the case at ``points`` (int16, cubic spline: the average pays for one interpolation only) and validity."""
    where = indices(case, points)
    hu = ndimage.map_coordinates(case.image.astype(np.float32), where, order=3, cval=AIR)
    valid = (where[2] >= case.seen[0]) & (where[2] <= case.seen[1])
    return np.clip(hu, AIR, 3071).round().astype(np.int16), valid


def robust_mean(stack: np.ndarray, valid: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the middle half (of at least ``least``) of the valid values, air where fewer; and how many are valid.

    ``stack`` (cases, x, y, z) int16 and ``valid`` alike. The extremes go: couches, masks and dental streaks.
    """
    count = valid.sum(0)
    hu = np.full(count.shape, AIR, np.int16)
    for z in range(stack.shape[3]):
        n = count[:, :, z]
        ordered = np.sort(np.where(valid[..., z], stack[..., z], np.int16(32767)), axis=0).astype(np.int64)
        total = np.concatenate([np.zeros_like(ordered[:1]), ordered.cumsum(0)])
        keep = np.minimum(np.maximum(least, (n + 1) // 2), n)
        low = ((n - keep) // 2)[None]
        middle = np.take_along_axis(total, low + keep[None], 0) - np.take_along_axis(total, low, 0)
        hu[:, :, z] = np.where(n >= least, np.round(middle[0] / np.maximum(keep, 1)), AIR)
    return hu, count


def demons(
    fixed: torch.Tensor, moving: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor, steps: int
) -> torch.Tensor:
    """Shift (1, 3, x, y, z) voxels such that ``moving`` at x + shift looks like ``fixed``; all (1, 1, x, y, z).

    ``weight`` is 0 where either is not to be trusted. Both the step and the shift are smoothed by a Gaussian.
    """
    axes = [torch.arange(n, dtype=torch.float32) for n in fixed.shape[2:]]
    base = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    half = (torch.tensor(fixed.shape[2:]).view(1, 3, 1, 1, 1) - 1) / 2
    slope = torch.cat(torch.gradient(fixed[0], dim=(1, 2, 3)))[None]
    for _ in range(steps):
        where = ((base + shift) / half - 1).permute(0, 2, 3, 4, 1).flip(-1)
        both = functional.grid_sample(torch.cat([moving, weight], 1), where, padding_mode="border", align_corners=True)
        error = (fixed - both[:, :1]) * both[:, 1:]
        force = (slope + torch.cat(torch.gradient(both[0, :1], dim=(1, 2, 3)))[None]) / 2
        step = error * force / (force.square().sum(1, keepdim=True) + error.square() + 1e-4)
        shift = _smooth(shift + _smooth(step, 1.0), 1.0)
    return shift


def _smooth(field: torch.Tensor, sigma: float) -> torch.Tensor:
    reach = int(np.ceil(2.5 * sigma))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in range(3):
        size = [len(kernel) if a == axis else 1 for a in range(3)]
        pads = [reach if a == axis else 0 for a in (2, 2, 1, 1, 0, 0)]
        padded = functional.pad(field, pads, mode="replicate")
        field = functional.conv3d(padded, kernel.view(1, 1, *size).expand(3, 1, *size), groups=3)
    return field


def register(cases: list[Case], grid: Grid, template: np.ndarray, known: np.ndarray, steps: tuple[int, int]) -> None:
    """Bring every case's ``shift`` closer to the ``template`` (x, y, z HU, to be trusted where ``known``).

    ``steps``: demons steps at half and at full resolution.
    """
    points, size = grid.points(), torch.tensor(grid.spacing).view(1, 3, 1, 1, 1)
    fixed = _seen(template)
    for case in cases:
        start, case.shift = case.shift, None
        hu, valid = sample(case, points)
        moving, weight = _seen(hu), torch.from_numpy((known & valid).astype(np.float32))[None, None]
        shift = torch.zeros(1, 3, *grid.shape) if start is None else torch.from_numpy(start)[None].float() / size
        for scale, n in zip((2, 1), steps, strict=True):
            small = [functional.avg_pool3d(t, scale) for t in (fixed, moving, weight)]
            if n:
                coarse = functional.interpolate(shift / scale, size=small[0].shape[2:], mode="trilinear")
                shift = functional.interpolate(demons(*small, coarse, n) * scale, size=grid.shape, mode="trilinear")
        case.shift = (shift * size)[0].numpy().astype(np.float16)


def _seen(hu: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.interp(hu, SEEN_HU, SEEN_AS).astype(np.float32))[None, None]


def average_cases(cases: list[Case], grid: Grid, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Robust mean HU (x, y, z) of the cases as they are aligned now, and how many cases show each voxel."""
    points = grid.points()
    stack = np.empty((len(cases), *grid.shape), np.int16)
    valid = np.empty(stack.shape, bool)
    for row, case in enumerate(cases):
        stack[row], valid[row] = sample(case, points)
    return robust_mean(stack, valid, least)


def organ_rows(cases: list[Case], grid: Grid, values: dict[str, int]) -> dict[str, dict]:
    """Per organ key: centroid (LPS mm) and mean volume (ml) of the cases' labels brought to the average.

    ``own_volume_ml`` is the mean volume in the patients themselves.
    """
    points = grid.points()
    shares = {key: np.zeros(grid.shape, np.float32) for key in values}
    own = dict.fromkeys(values, 0.0)
    for case in cases:
        where = indices(case, points)
        voxel = abs(np.linalg.det(case.affine[:3, :3])) / 1000
        for key, value in values.items():
            organ = case.labels == value
            own[key] += float(organ.sum() * voxel / len(cases))
            shares[key] += ndimage.map_coordinates(organ.astype(np.float32), where, order=1) / len(cases)
    rows = {}
    for key, share in shares.items():
        centroid = (points * share).sum((1, 2, 3), dtype=np.float64) / share.sum(dtype=np.float64)
        volume = share.sum(dtype=np.float64) * np.prod(grid.spacing) / 1000
        rows[key] = {"centroid_lps_mm": centroid.round(1).tolist(), "volume_ml": round(float(volume), 2)}
        rows[key]["own_volume_ml"] = round(own[key], 2)
    return rows


def make_average(
    cases: list[Case], values: dict[str, int], grid: Grid, least: int = MIN_CASES, rounds: tuple = ROUNDS
) -> Average:
    """Align the cases and average them. ``rounds``: demons steps at half and at full resolution, a pair a round.

    Raises ConfigError where fewer than ``least`` cases are given or no slice shows that many.
    """
    if len(cases) < least:
        raise ConfigError(f"an average needs at least {least} cases with all organs; {len(cases)} were found")
    shape = mean_shape(np.stack([case.centroids for case in cases]))
    for case in cases:
        case.warp = affine_between(shape, case.centroids)
    hu, count = average_cases(cases, grid, least)
    _report("affine", hu)
    for number, steps in enumerate(rounds, 1):
        register(cases, grid, hu, count >= least, steps)
        hu, count = average_cases(cases, grid, least)
        _report(f"round {number}", hu)
    whole = np.flatnonzero((count >= least).all((0, 1)))[-MAX_SLICES:]
    if not whole.size:
        raise ConfigError(f"no slice of the grid is shown by {least} cases")
    hu = clear_outside(hu[:, :, whole[0] : whole[-1] + 1])
    origin = np.array(grid.origin) + (0, 0, whole[0] * grid.spacing[2])
    return Average(hu, np.array(grid.spacing), origin, len(cases), organ_rows(cases, grid, values))


def clear_outside(hu: np.ndarray) -> np.ndarray:
    """Set all to air but the largest body and two voxels around it: traces of couches and masks go."""
    parts, number = ndimage.label(hu > TISSUE_HU)
    if not number:
        return hu
    body = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    filled = np.stack([ndimage.binary_fill_holes(body[:, :, z]) for z in range(hu.shape[2])], 2)
    near = ndimage.binary_dilation(filled, ndimage.generate_binary_structure(3, 1), 2)
    return np.where(near, hu, np.int16(AIR))


def _report(stage: str, hu: np.ndarray) -> None:
    """Print how steep the average's edges are: the mean of the steepest twentieth in the body, HU per voxel."""
    slope = np.linalg.norm(np.gradient(hu.astype(np.float32)), axis=0)[hu > TISSUE_HU]
    edge = slope[slope >= np.quantile(slope, 0.95)].mean() if slope.size else 0.0
    print(f"[{time.process_time():6.0f} s] {stage}: edges {edge:.0f} HU per voxel", flush=True)


def write(average: Average, out: Path) -> None:
    """Write ``out/ct/*.dcm`` and ``out/expected.json``. Raises OutputError where that fails."""
    write_series(average.hu, average.spacing, average.origin, out / "ct", average.cases)
    record = {"cases": average.cases, "spacing_mm": average.spacing.tolist(), "organs": average.organs}
    try:
        (out / "expected.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {out / 'expected.json'}: {error}") from error


def main(argv: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="folder with dataset.json")
    parser.add_argument("out", type=Path, help="folder for ct/ and expected.json")
    parser.add_argument("--cases", type=int, default=60, help="use no more than so many")
    parser.add_argument("--affine-only", action="store_true", help="quick and blurred: no deformable rounds")
    args = parser.parse_args(argv)
    values = load_site("head_neck").values
    cases: list[Case] = []
    for row in load_rows(args.dataset):
        case = load_case(args.dataset, row, list(values.values())) if len(cases) < args.cases else None
        cases += [case] if case else []
    print(f"[{time.process_time():6.0f} s] {len(cases)} training cases show all of {', '.join(values)}", flush=True)
    average = make_average(cases, values, Grid(), rounds=() if args.affine_only else ROUNDS)
    write(average, args.out)
    print(f"[{time.process_time():6.0f} s] wrote {average.hu.shape} voxels of {average.cases} patients to {args.out}")


if __name__ == "__main__":
    main()
