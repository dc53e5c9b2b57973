"""One patient, written as CT series of many orientations; does every contour come back where it belongs?

    python -m experiments.benchmarks.geometry_variants [CT] [--only NAME ...]

Without CT, the embedded average. Each series is the same patient sampled on another lattice (see geometry_series.py),
so that two answers are known:

1. A shape of three balls, stored as pixels: read, contoured, written as RTSTRUCT and read from the file. Each vertex is
   compared with the balls' surface in patient mm and counted in voxels along the pixel edge it lies on; then the
   contours are drawn as a mask again, and voxels that are not the shape's are counted.
2. The organs: `oarseg.segment` on the series against the contours of the CT as it was given, by Dice on a lattice of
   1 mm in patient space. Other voxels cannot hold the same contours: the best possible Dice is that of the given
   CT's own contours, looked up at the centres of the series' voxels.

Prints Markdown. Research use only, not a medical device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from scipy import ndimage

from experiments.benchmarks.geometry_series import (
    AIR,
    FLIP,
    POSITIONS,
    Series,
    all_series,
    lattice,
    rotation,
    sampled,
    write,
)
from oarseg import Pipeline, segment
from oarseg.demo.planning_ct import FOLDER
from oarseg.dicom import CtVolume, Roi, read_ct, write_rtstruct
from oarseg.dicom.read.structure_set import draw
from oarseg.errors import OarsegError
from oarseg.geometry import canvas
from oarseg.geometry.label_map import LabelMap

BALL = 1000
# Middle from the CT's middle and radius, mm: nothing about it is symmetric, and no surface runs through voxel centres.
BALLS = (((-21.3, 9.7, 0.4), 30.2), ((24.6, -15.2, 13.1), 18.3), ((31.7, 21.9, -24.6), 10.4))
ANGLES = (3, 7, 10, 15, 20, 30, 45)
HEAD = (
    "| series | answer | contour off, voxels | voxels wrong | Dice, mean / lowest | best possible | lowest organ | "
    "centroid off, mm | left and right |"
)
ANGLE_HEAD = "| degrees | own axes, mean | lowest | resampled, mean | lowest | best possible, mean | lowest |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="?", type=Path, default=FOLDER, help="DICOM folder (default: the embedded average)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="series whose name begins so, without the angles")
    args = parser.parse_args()
    bench = Bench(read_ct(args.ct), args.ct)
    chosen = [s for s in all_series(bench.ct) if not args.only or s.name.startswith(tuple(args.only))]
    print(f"{HEAD}\n|---|---|---|---|---|---|---|---|---|")
    for number, one in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {one.name}", file=sys.stderr, flush=True)
        print(f"| {one.name} | {' | '.join(bench.row(one))} |", flush=True)
    if not args.only:
        print(f"\n{ANGLE_HEAD}\n|---|---|---|---|---|---|---|")
        for angle in ANGLES:
            print(f"angle {angle}", file=sys.stderr, flush=True)
            print(f"| {angle} | {' | '.join(bench.angle_row(angle))} |", flush=True)
    return 0


class Bench:
    """The given CT, its own contours, and the networks."""

    def __init__(self, ct: CtVolume, folder: Path) -> None:
        self.ct, self.lps, self.pipeline = ct, FLIP @ ct.affine, Pipeline()
        self.middle = (self.lps @ [*(np.array(ct.shape) // 2), 1])[:3]
        self.label = segment(folder, pipeline=self.pipeline).segmentation.label
        index = np.argwhere(self.label)
        ends = np.stack([index.min(axis=0) - 4, index.max(axis=0) + 4]) @ self.lps[:3, :3].T + self.lps[:3, 3]
        # A lattice of 1 mm around the organs, off the CT's own voxel centres.
        self.fine = np.eye(4)
        self.fine[:3, 3] = ends.min(axis=0) + 0.37
        self.shape = np.ptp(ends, axis=0).astype(int)
        self.truth = sampled(self.label, self.lps, self.fine, self.shape, 0)

    def row(self, series: Series) -> list[str]:
        """The cells of one series."""
        with tempfile.TemporaryDirectory() as place:
            try:
                off, wrong = self.balls(series, Path(place) / "balls")
                label, affine, warned = self.contoured(series, Path(place) / "ct")
            except OarsegError as error:
                return [f"refused: {error}", *["-"] * 7]
        answer = "resampled" if any("oblique" in w for w in warned) else "own axes"
        dice, best, centroids, sides = self.compared(series, label, affine)
        worst = min(dice, key=dice.get)
        if lacking := [key for key in dice if key not in centroids]:
            answer += f", without {', '.join(lacking)}"
        apart = max(centroids.values(), default=np.nan)
        means = [f"{np.mean(list(d.values())):.3f} / {d[worst]:.3f}" for d in (dice, best)]
        kept = "kept" if sides else "EXCHANGED"
        return [answer, f"{off:.2f}", str(wrong), *means, worst, f"{apart:.1f}", kept]

    def angle_row(self, angle: float) -> list[str]:
        """Dice of stacks turned about two axes, along their own axes and resampled; the mean of both stacks."""
        limit, cells = canvas.OBLIQUE_DEGREES, []
        for threshold in (90.0, 0.0):
            canvas.OBLIQUE_DEGREES = threshold
            try:
                rows = [self.turned(axis, angle) for axis in "xz"]
            finally:
                canvas.OBLIQUE_DEGREES = limit
            cells += _mean_and_lowest(dice for dice, _ in rows)
        return cells + _mean_and_lowest(best for _, best in rows)

    def turned(self, axis: str, angle: float) -> tuple[dict[str, float], dict[str, float]]:
        series = lattice(self.ct, "", POSITIONS["HFS"], turn=rotation({axis: angle}))
        with tempfile.TemporaryDirectory() as place:
            label, affine, _ = self.contoured(series, Path(place) / "ct")
        return self.compared(series, label, affine)[:2]

    def contoured(self, series: Series, folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Label map of the series, its affine to LPS mm as oarseg tells it, and warnings."""
        hu = sampled(self.ct.hu, series.turn @ self.lps, series.affine, series.shape, 1)
        write(series, hu, self.ct, folder)
        result = segment(folder, pipeline=self.pipeline)
        return result.segmentation.label, FLIP @ result.segmentation.affine, result.warnings

    def compared(self, series: Series, label: np.ndarray, affine: np.ndarray) -> tuple:
        """Dice and best possible Dice; centroid distance (mm) and whether left is left of right, of what was found."""
        # Of a turned head, the answer is turned back.
        back = np.linalg.inv(series.turn)
        found = sampled(label, back @ affine, self.fine, self.shape, 0)
        drawn = sampled(self.label, series.turn @ self.lps, series.affine, series.shape, 0)
        drawn = sampled(drawn, back @ series.affine, self.fine, self.shape, 0)
        dice, best, apart, middles = {}, {}, {}, {}
        for key, value in self.pipeline.site.values.items():
            truth = self.truth == value
            dice[key], best[key] = _dice(found == value, truth), _dice(drawn == value, truth)
            if (found == value).any():
                middles[key] = np.array(ndimage.center_of_mass(found == value))
                apart[key] = float(np.linalg.norm(middles[key] - ndimage.center_of_mass(truth)))
        pairs = [(k, k.replace("left", "right")) for k in middles if k.endswith("left")]
        return dice, best, apart, all(middles[a][0] > middles[b][0] for a, b in pairs if b in middles)

    def balls(self, series: Series, folder: Path) -> tuple[float, int]:
        """How far contours lie off the balls' surface, in voxels, and how many voxels they hold wrongly."""
        plane = np.moveaxis(np.indices(series.shape[1:]), 0, -1) @ series.affine[:3, 1:3].T + series.affine[:3, 3]
        inside = np.stack([self.depth(plane + k * series.affine[:3, 0]) < 0 for k in range(series.shape[0])])
        numbers = write(series, np.where(inside, BALL, AIR).astype(np.int16), self.ct, folder)
        volume = read_ct(folder)
        plan = folder.parent / "rtstruct.dcm"
        write_rtstruct(plan, volume, [Roi("Balls", (255, 0, 0), volume.hu > 0)])
        to_index, spacing = np.linalg.inv(series.affine), np.linalg.norm(series.affine[:3, :3], axis=0)
        off, contours = 0.0, []
        for contour in pydicom.dcmread(plan).ROIContourSequence[0].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            contours.append(points)
            place = points @ to_index[:3, :3].T + to_index[:3, 3]
            (image,) = contour.ContourImageSequence
            off = max(off, float(np.abs(place[:, 0] - numbers[image.ReferencedSOPInstanceUID]).max()))
            # A vertex lies half-way between two pixel centres: along the axis where its index is no whole number.
            edge = 1 + np.abs(place[:, 1:] - np.rint(place[:, 1:])).argmax(axis=1)
            off = max(off, float((np.abs(self.depth(points)) / spacing[edge]).max()))
        mask, _ = draw(contours, LabelMap(np.zeros(series.shape, np.uint8), FLIP @ series.affine), series.name)
        return off, int((mask != inside).sum())

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Millimetres from points (..., 3), LPS, to the nearest ball's surface; negative within."""
        return np.min([np.linalg.norm(points - self.middle - m, axis=-1) - r for m, r in BALLS], axis=0)


def _mean_and_lowest(rows: Iterable[dict[str, float]]) -> list[str]:
    values = [value for row in rows for value in row.values()]
    return [f"{np.mean(values):.3f}", f"{min(values):.3f}"]


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OarsegError as error:
        sys.exit(f"error: {error}")
