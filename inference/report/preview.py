"""One picture to judge a segmentation by: axial levels, a coronal and a sagittal slice with the organs' contours.

Axial slices are seen from the feet and coronal ones from the front, so that the patient's left is on the right of the
picture; letters say so. The slices shown are voxel planes along the image's axes nearest to the patient's, so an
oblique scan is shown as it was scanned, and named so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import ndimage

from oarseg import __version__
from oarseg.geometry.affine import LPS_TO_RAS, OBLIQUE_DEGREES, obliqueness, voxel_spacing
from oarseg.inference.report.content import Measure
from oarseg.sites import Organ, Site

WINDOW_HU = (-160, 240)
AXIAL_LEVELS = 4
# An organ counts as shown on a slice that cuts at least this share of its largest cross-section.
SHOWN_SHARE = 0.4
# Another level must show so much more, in shares of organs.
LEAST_GAIN = 0.05
MARGIN_MM = 30.0
TITLE = f"oarseg {__version__}  |  research use only, not a medical device"
SIZE_INCHES, DPI = (15.0, 8.6), 100
BACKGROUND, TEXT, MUTED = "#101418", "#e8ecf0", "#8d98a3"


@dataclass(frozen=True, eq=False)
class View:
    """A volume turned to x towards left, y towards posterior, z towards superior, without copying it.

    ``hu``, ``label``: (x, y, z). ``affine``: (4, 4), index to LPS mm. ``boxes``: where each label value lies, by value;
    None where it does not occur.
    """

    hu: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    boxes: dict[int, tuple[slice, slice, slice]]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres along x, y, z."""
        return tuple(voxel_spacing(self.affine).tolist())

    @property
    def slant(self) -> str:
        """What is added to a plane's name if the planes are not the patient's."""
        degrees = obliqueness(self.affine)
        return f" but {degrees:.0f} degrees oblique" if degrees > OBLIQUE_DEGREES else ""

    def position(self, axis: int, index: int) -> float:
        """Return where a slice lies along ``axis``, LPS mm, in the middle of the slice."""
        point = (np.array(self.label.shape) - 1) / 2
        point[axis] = index
        return float((self.affine @ [*point, 1.0])[axis])


@dataclass(frozen=True)
class Plane:
    """How one plane is drawn: the ``axis`` it cuts, the axes to the right and down, their ends' letters.

    ``flip``: the axis down counts upwards (z towards superior).
    """

    name: str
    axis: int
    across: int
    down: int
    letters: tuple[str, str, str, str]
    flip: bool


# Letters: left, right, top, bottom of the picture.
AXIAL = Plane("axial", 2, 0, 1, ("R", "L", "A", "P"), False)
CORONAL = Plane("coronal", 1, 0, 2, ("R", "L", "S", "I"), True)
SAGITTAL = Plane("sagittal", 0, 1, 2, ("A", "P", "S", "I"), True)


def write_preview(
    path: str | Path,
    view: View,
    site: Site,
    measures: Mapping[str, Measure],
    organ_keys: Sequence[str] | None = None,
) -> None:
    """Draw the picture ``path`` (PNG).

    Args: ``view`` of the CT and its label map, from ``lps_view``; ``measures``: of the organs that were found;
    ``organ_keys``: of the legend (all by default); those without a measure are marked as not found.
    Raises OSError if the file cannot be written.
    """
    organs = [o for o in site.organs if organ_keys is None or o.key in organ_keys]
    window = shown_box(view)
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor=BACKGROUND)
    canvas = FigureCanvasAgg(figure)
    figure.text(0.5, 0.972, TITLE, color=TEXT, ha="center", va="center", fontsize=13)
    levels = choose_levels(areas(view, AXIAL), AXIAL_LEVELS)[::-1]
    for place, index in zip(_row(len(levels), 0.50, 0.44), levels, strict=True):
        _draw(figure.add_axes(place), view, AXIAL, index, window, organs)
    lower = _row(3, 0.02, 0.44)
    for place, plane in zip(lower, (CORONAL, SAGITTAL), strict=False):
        _draw(figure.add_axes(place), view, plane, best_level(areas(view, plane)), window, organs)
    _legend(figure.add_axes(lower[2]), organs, measures)
    canvas.print_png(str(path))


def lps_view(hu: np.ndarray, label: np.ndarray, affine: np.ndarray) -> View:
    """Return the CT ``hu`` and its ``label`` map, both (i, j, k) with ``affine`` (4, 4) to RAS mm, as a :class:`View`.

    The arrays are turned so that their axes run nearest to left, posterior, superior; strides only.
    """
    target = nib.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), target)
    turned = np.asarray(affine, dtype=float) @ nib.orientations.inv_ornt_aff(turn, label.shape)
    boxes = {value: box for value, box in enumerate(ndimage.find_objects(label), 1) if box is not None}
    move, mirrored = np.argsort(turn[:, 0]), turn[:, 1] < 0
    for value, box in boxes.items():
        ends = [slice(n - s.stop, n - s.start) if m else s
                for s, n, m in zip(box, label.shape, mirrored, strict=True)]  # fmt: skip
        boxes[value] = tuple(ends[a] for a in move)
    return View(
        nib.orientations.apply_orientation(hu, turn),
        nib.orientations.apply_orientation(label, turn),
        LPS_TO_RAS @ turned,
        boxes,
    )


def areas(view: View, plane: Plane) -> np.ndarray:
    """Return each organ's cross-section (rows) on each slice of ``plane``, as a share of its largest."""
    rows = []
    for value, box in view.boxes.items():
        others = tuple(a for a in range(3) if a != plane.axis)
        row = np.zeros(view.label.shape[plane.axis])
        row[box[plane.axis]] = (view.label[box] == value).sum(axis=others)
        rows.append(row / row.max())
    return np.array(rows).reshape(-1, view.label.shape[plane.axis])


def choose_levels(shares: np.ndarray, count: int) -> list[int]:
    """Return up to ``count`` slices, ascending, that together show every organ: each time the one that adds most.

    ``shares`` (organs, slices) from ``areas``. The middle slice where there is no organ.
    """
    if not shares.size or not len(shares):
        return [shares.shape[1] // 2]
    chosen: list[int] = []
    shown = np.zeros(len(shares))
    while len(chosen) < count:
        # Shares above the threshold only: a slice that grazes many organs is worth less than one that shows two.
        gain = np.where(shares >= SHOWN_SHARE, np.maximum(0, shares - shown[:, None]), 0).sum(axis=0)
        index = int(gain.argmax())
        if gain[index] < LEAST_GAIN:
            break
        chosen.append(index)
        shown = np.maximum(shown, shares[:, index])
    return sorted(chosen)


def best_level(shares: np.ndarray) -> int:
    """Return the slice that shows most of most organs; the middle one where there is none."""
    return int(shares.sum(axis=0).argmax()) if len(shares) else shares.shape[1] // 2


def shown_box(view: View) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return voxels to show along x, y, z: the organs and ``MARGIN_MM`` around; everything where there is no organ."""
    if not view.boxes:
        return tuple((0, n) for n in view.label.shape)
    window = []
    for axis, (size, spacing) in enumerate(zip(view.label.shape, view.spacing, strict=True)):
        margin = int(np.ceil(MARGIN_MM / spacing))
        low = min(box[axis].start for box in view.boxes.values())
        high = max(box[axis].stop for box in view.boxes.values())
        window.append((max(0, low - margin), min(size, high + margin)))
    return tuple(window)


def picture(array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """Return one slice of (x, y, z) as rows from the top and columns from the left of the picture."""
    # Not np.take: it copies the whole volume where the axes are transposed.
    flat = array[(slice(None),) * plane.axis + (index,)]
    flat = flat.T if plane.across < plane.down else flat
    return flat[::-1] if plane.flip else flat


def _draw(axes: object, view: View, plane: Plane, index: int, window: tuple, organs: Sequence[Organ]) -> None:
    draw_slice(axes, view, plane, index, window)
    label = picture(view.label, plane, index)
    for organ in organs:
        draw_contour(axes, view, plane, label == organ.value, rgb(organ))


def draw_slice(axes: object, view: View, plane: Plane, index: int, window: tuple) -> None:
    """Draw one slice of the CT within ``window`` (see ``shown_box``), its position and the patient's sides.

    The axes are in millimetres from the corner of the picture, so that the aspect is the patient's.
    """
    image = picture(view.hu, plane, index)
    right, down = view.spacing[plane.across], view.spacing[plane.down]
    rows, columns = image.shape
    extent = (0, columns * right, rows * down, 0)
    low, high = WINDOW_HU
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear", aspect="equal")
    (left, stop), (top, bottom) = window[plane.across], window[plane.down]
    if plane.flip:
        top, bottom = rows - bottom, rows - top
    axes.set_xlim(left * right, stop * right)
    axes.set_ylim(bottom * down, top * down)
    axes.set_axis_off()
    height = f"{plane.name}{view.slant}, {'xyz'[plane.axis]} = {view.position(plane.axis, index):.1f} mm"
    axes.text(0.5, -0.005, height, transform=axes.transAxes, color=MUTED, ha="center", va="top", fontsize=8)
    _letters(axes, plane)


def draw_contour(
    axes: object, view: View, plane: Plane, mask: np.ndarray, color: object, style: str = "-", width: float = 1.4
) -> None:
    """Draw the outline of a mask, a slice as ``picture`` gives it, on axes that ``draw_slice`` has set up."""
    if not mask.any() or min(mask.shape) < 2:
        return
    x = (np.arange(mask.shape[1]) + 0.5) * view.spacing[plane.across]
    y = (np.arange(mask.shape[0]) + 0.5) * view.spacing[plane.down]
    axes.contour(x, y, mask, levels=[0.5], colors=[color], linewidths=width, linestyles=style)


def _letters(axes: object, plane: Plane) -> None:
    places = ((0.015, 0.5), (0.985, 0.5), (0.5, 0.98), (0.5, 0.02))
    aligned = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (across, along) in zip(plane.letters, places, aligned, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, color=TEXT, ha=across, va=along, fontsize=10, weight="bold",
                  path_effects=[withStroke(linewidth=2.5, foreground="black")])  # fmt: skip


def _legend(axes: object, organs: Sequence[Organ], measures: Mapping[str, Measure]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    step = 0.9 / max(10, len(organs))
    for row, organ in enumerate(organs):
        y = 0.93 - row * step
        found = measures.get(organ.key)
        style = "-" if found else ":"
        axes.plot([0.05, 0.15], [y, y], style, color=rgb(organ), linewidth=4)
        axes.text(0.19, y, organ.name, color=TEXT if found else MUTED, va="center", fontsize=12)
        volume = f"{found.volume_cm3:.1f} cm\u00b3" if found else "not found"
        axes.text(0.92, y, volume, color=TEXT if found else MUTED, va="center", ha="right", fontsize=12)
    note = (
        f"HU {WINDOW_HU[0]} to {WINDOW_HU[1]}; positions are patient coordinates (LPS)\n"
        "L, R, A, P, S, I: the patient's left, right, front, back, up, down"
    )
    axes.text(0.05, 0.03, note, color=MUTED, va="bottom", fontsize=8)


def _row(count: int, bottom: float, height: float) -> list[tuple[float, float, float, float]]:
    width = 0.98 / max(count, 1)
    return [(0.01 + i * width + 0.004, bottom, width - 0.008, height) for i in range(count)]


def rgb(organ: Organ) -> tuple[float, float, float]:
    """Return the organ's colour, 0 to 1."""
    red, green, blue = (c / 255 for c in organ.color)
    return red, green, blue
