"""A page of the worst organs: three planes through the largest disagreement, both contours, the scores below."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from oarseg.errors import OarsegError
from oarseg.evaluation.scores import Status
from oarseg.geometry.label_map import LabelMap
from oarseg.images.label_maps import check_same_grid, turned
from oarseg.inference.report.preview import (
    AXIAL,
    BACKGROUND,
    CORONAL,
    SAGITTAL,
    Plane,
    View,
    draw_contour,
    draw_slice,
    lps_view,
    picture,
    shown_box,
)
from oarseg.sites import Site

SIZE_INCHES, DPI = (13.0, 4.6), 80
# Green against magenta is told apart with any colour vision; neither occurs in a CT.
REFERENCE, PREDICTION = "#3ddc5a", "#ff4fd8"
# Bits of the map that is drawn.
IN_REFERENCE, IN_PREDICTION = 1, 2
BLANK_HU = -1000
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Worst organs</title>
<style>
body {{ background: {background}; color: #e8ecf0; font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto;
  max-width: 1060px; padding: 0 1rem; }}
figure {{ margin: 0 0 2.2rem; }} img {{ width: 100%; display: block; }}
figcaption b {{ font-size: 1.1em; }} .r {{ color: {reference}; }} .p {{ color: {prediction}; }} .n {{ color: #8d98a3; }}
</style></head><body>
<h1>The {count} worst of {total} organs, by Dice</h1>
<p><span class="r">reference</span>, <span class="p">prediction</span>; each plane through the largest disagreement.
Axial from the feet, coronal from the front. Research use only. The page holds patient images: keep it as such.</p>
{figures}
</body></html>
"""

Load = Callable[[str], tuple[LabelMap, LabelMap, Path | None]]


def worst_rows(rows: Sequence[Mapping], count: int) -> list[Mapping]:
    """Return the ``count`` rows with the lowest Dice; among equals, the larger reference or prediction first."""
    scored = [row for row in rows if row["dice"] is not None]
    return sorted(scored, key=lambda r: (r["dice"], -max(r["reference_cm3"], r["predicted_cm3"])))[:count]


def worst_page(
    rows: Sequence[Mapping], count: int, load: Load, site: Site, note: Callable[[str], None] = lambda text: None
) -> str:
    """Return the text of ``worst.html``.

    Args:
        rows: of ``scores.csv``.
        count: how many organs to show.
        load: gives prediction, reference and the CT's path (or None) of a case.
        site: the organs.
        note: called with the reason where a case is drawn without its CT.
    """
    chosen = worst_rows(rows, count)
    pictures: dict[tuple[str, str], str] = {}
    # Case by case, so that each is read once.
    for case in dict.fromkeys(row["case"] for row in chosen):
        keys = [row["organ"] for row in chosen if row["case"] == case]
        for key, png in _pictures(case, keys, load, site, note):
            pictures[case, key] = base64.b64encode(png).decode("ascii")
    figures = [_figure(i, row, pictures[row["case"], row["organ"]], site) for i, row in enumerate(chosen, 1)]
    return PAGE.format(
        background=BACKGROUND,
        reference=REFERENCE,
        prediction=PREDICTION,
        count=len(chosen),
        total=sum(row["dice"] is not None for row in rows),
        figures="\n".join(figures),
    )


def _pictures(
    case: str, keys: list[str], load: Load, site: Site, note: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    prediction, reference, image = load(case)
    hu = _hu(case, image, reference, note)
    for key in keys:
        value = site.organ(key).value
        both = np.zeros(reference.label.shape, dtype=np.uint8)
        both[reference.label == value] |= IN_REFERENCE
        both[prediction.label == value] |= IN_PREDICTION
        yield key, draw_disagreement(lps_view(hu, both, reference.affine))


def _hu(case: str, image: Path | None, grid: LabelMap, note: Callable[[str], None]) -> np.ndarray:
    """Return the CT on the voxels of ``grid``; blank where there is none or it lies elsewhere."""
    blank = np.broadcast_to(np.int16(BLANK_HU), grid.label.shape)
    if image is None:
        return blank
    from oarseg.images.read import read_image

    try:
        ct = read_image(image)
        hu, affine = turned(ct.hu, ct.affine)
        check_same_grid(LabelMap(hu, affine), grid, case)
    except OarsegError as error:
        note(f"{case}: drawn without its CT: {error}")
        return blank
    return hu


def draw_disagreement(view: View) -> bytes:
    """Return a PNG of three planes; ``view.label`` holds the bits ``IN_REFERENCE`` and ``IN_PREDICTION``."""
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor=BACKGROUND)
    window = shown_box(view)
    for place, plane in enumerate((AXIAL, CORONAL, SAGITTAL)):
        axes = figure.add_axes((0.005 + place / 3, 0.05, 0.323, 0.94))
        index = disagreeing_level(view, plane)
        draw_slice(axes, view, plane, index, window)
        label = picture(view.label, plane, index)
        for bit, color in ((IN_REFERENCE, REFERENCE), (IN_PREDICTION, PREDICTION)):
            draw_contour(axes, view, plane, (label & bit) > 0, color, width=1.8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def disagreeing_level(view: View, plane: Plane) -> int:
    """Return the slice on which most voxels are in one mask only; if none is, the one with most of the organ."""
    others = tuple(a for a in range(3) if a != plane.axis)
    differing = ((view.label == IN_REFERENCE) | (view.label == IN_PREDICTION)).sum(axis=others)
    return int((differing if differing.any() else (view.label > 0).sum(axis=others)).argmax())


def _figure(number: int, row: Mapping, png: str, site: Site) -> str:
    title = html.escape(f"{number}. {row['case']}, {site.organ(row['organ']).title}")
    wrong = [str(row["status"])] if row["status"] in (Status.MISSED, Status.SPURIOUS) else []
    wrong += ["left and right exchanged"] * row["swapped"]
    scores = [
        f"Dice {row['dice']:.3f}",
        f"surface Dice {row['surface_dice']:.3f}",
        _in_mm("HD95", row["hd95_mm"]),
        _in_mm("mean surface distance", row["msd_mm"]),
        _in_mm("centroids", row["centroid_mm"], " apart"),
        f"reference {row['reference_cm3']:.2f} cm³, prediction {row['predicted_cm3']:.2f} cm³",
    ]
    text = f"<b>{title}</b>{': ' + ', '.join(wrong) if wrong else ''}<br>{' · '.join(filter(None, scores))}"
    alt = html.escape(f"{row['case']}, {row['organ']}: reference and prediction on three planes", quote=True)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{png}"><figcaption>{text}</figcaption></figure>'


def _in_mm(name: str, value: float | None, after: str = "") -> str:
    return f"{name} {value:.1f} mm{after}" if value is not None else ""
