"""``report.html``: a case as a page to look through, with nothing fetched: three planes, volumes, warnings, versions.

The voxels around the organs travel in the page as two mosaics of axial slices, a JPEG of the CT and a PNG of the label
map; the page's own script draws the planes. Without a script the preview is shown.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from oarseg.inference.report.preview import AXIAL, View, areas, best_level, shown_box
from oarseg.sites import Organ, Site
from oarseg.sites.volumes import published_volume
from oarseg.text import printable

FILES = Path(__file__).parent / "case_page_files"
# Tones of the JPEG and the HU they stand for: most of them for soft tissue, some for air and bone.
TONES, HU = (0, 16, 184, 255), (-1000, -160, 240, 1500)
JPEG_QUALITY = 90
# A browser's canvas and patience: more voxels than these are thinned out.
MOST_VOXELS = 24_000_000
THINNED = " The CT is large; of its voxels are shown: {steps}."


def case_page(
    view: View, site: Site, report: Mapping[str, Any], preview: bytes, name: str = "contoured CT", overview: str = ""
) -> str:
    """Return the page as HTML.

    Args: ``view`` of the CT and its label map, from ``lps_view``; ``report``: the content of ``report.json``;
    ``preview``: a PNG; ``name``: of the case; ``overview``: link to a page over several cases, if there is one.
    """
    organs = [organ for organ in site.organs if organ.key in report["organs"]]
    shown = tuple(slice(low, high) for low, high in shown_box(view))
    step = thinning([s.stop - s.start for s in shown])
    part = tuple(slice(s.start, s.stop, n) for s, n in zip(shown, step, strict=True))
    image, columns = mosaic(tone(view.hu[part]))
    labels, _ = mosaic(view.label[part])
    script, style = _text("viewer.js"), _text("style.css")
    return Template(_text("page.html")).substitute(
        name=html.escape(printable(name)),
        back=f'<p><a href="{html.escape(overview)}">all cases</a></p>' if overview else "",
        series=_series(report["input"]),
        version=html.escape(report["versions"]["oarseg"]),
        disclaimer=html.escape(report["disclaimer"]),
        warnings=_warnings(report["warnings"]),
        organs="\n".join(_organ(organ, report["organs"][organ.key]) for organ in organs),
        sources=_sources(organs),
        details=_details(report),
        thinned=_thinned(step),
        still=f'<img alt="preview" src="data:image/png;base64,{_base64(preview)}">',
        image=_base64(_encoded(image, "JPEG", quality=JPEG_QUALITY)),
        labels=_base64(_encoded(labels, "PNG")),
        data=_json(_data(view, organs, part, columns)),
        script=script,
        style=style,
        script_hash=_csp_hash(script),
        style_hash=_csp_hash(style),
    )


def tone(hu: np.ndarray) -> np.ndarray:
    """Return HU as the JPEG holds them, uint8: piecewise linear by ``TONES`` and ``HU``."""
    # By table: interpolating every voxel would take seconds.
    low, high = HU[0], HU[-1]
    table = np.rint(np.interp(np.arange(low, high + 1), HU, TONES)).astype(np.uint8)
    return table[np.clip(hu, low, high).astype(np.int32) - low]


def mosaic(volume: np.ndarray) -> tuple[np.ndarray, int]:
    """Return (x, y, z) as one picture of axial slices side by side, nearly square, and the slices in a row."""
    across, down, count = volume.shape
    columns = max(1, min(count, round((count * down / across) ** 0.5)))
    rows = -(-count // columns)
    picture = np.zeros((rows * down, columns * across), np.uint8)
    for z in range(count):
        top, left = z // columns * down, z % columns * across
        picture[top : top + down, left : left + across] = volume[:, :, z].T
    return picture, columns


def thinning(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Return the step between shown voxels along x, y, z, so that there are at most ``MOST_VOXELS``."""
    step = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(sizes, step, strict=True)], dtype=float) > MOST_VOXELS:
        longest = int(np.argmax([n / s for n, s in zip(sizes, step, strict=True)]))
        step[longest] += 1
    return step[0], step[1], step[2]


def _data(view: View, organs: Sequence[Organ], part: tuple[slice, ...], columns: int) -> dict[str, Any]:
    first = [s.start for s in part]
    step = [s.step for s in part]
    shape = [len(range(s.start, s.stop, s.step)) for s in part]

    def within(index: Sequence[float]) -> list[int]:
        """Return a voxel of the CT as an index of the shown, thinned part."""
        return [int(min(n - 1, max(0, (i - f) // s))) for i, f, s, n in zip(index, first, step, shape, strict=True)]

    rows = []
    for organ in organs:
        box = view.boxes.get(organ.value)
        centre = [(s.start + s.stop - 1) / 2 for s in box] if box else None
        color = "#{:02x}{:02x}{:02x}".format(*organ.color)
        rows.append(
            {"value": organ.value, "name": organ.name, "color": color, "centre": within(centre) if centre else None}
        )
    middle = [(s.start + s.stop - 1) / 2 for s in part]
    middle[AXIAL.axis] = best_level(areas(view, AXIAL))
    return {
        "shape": shape,
        # Along the image's own axes, which are near the patient's; an oblique scan is shown as it was scanned.
        "spacing": [round(float(v) * s, 6) for v, s in zip(view.spacing, step, strict=True)],
        "origin": [round(view.position(axis, first[axis]), 3) for axis in range(3)],
        "columns": columns,
        "organs": rows,
        "start": within(middle),
        "tones": {"tone": TONES, "hu": HU},
    }


def _organ(organ: Organ, row: Mapping[str, Any]) -> str:
    name, found = html.escape(organ.name), row["found"]
    low, high = organ.volume_cm3
    color = "#{:02x}{:02x}{:02x}".format(*organ.color)
    swatch = (
        f'<svg class="swatch" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="{color}"/></svg>'
    )
    published = published_volume(organ.name)
    normal = "{:g} to {:g}".format(*published.range_cm3) if published else "-"
    if found:
        volume = row["volume_cm3"]
        odd = "" if low <= volume <= high else ' class="odd"'
        check = f'<input type="checkbox" checked data-organ="{organ.value}" aria-label="show {name}">'
        box = f"<label>{swatch} {check}</label>"
        title = f'<button type="button" data-organ="{organ.value}" title="go there">{name}</button>'
        remark = f"<span{odd}>{'as usual' if not odd else 'outside the usual range'}</span>"
        shown = f"<span{odd}>{volume:.1f}</span>"
    else:
        box, title, shown = swatch, f'<span class="missing">{name}</span>', "-"
        remark = f'<span class="missing">not found: {html.escape(row["reason"])}</span>'
    cells = [box, title, shown, f"{low:g} to {high:g}", normal, remark]
    kinds = ["", "", ' class="number"', ' class="number"', ' class="number"', ""]
    return "<tr>" + "".join(f"<td{k}>{c}</td>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"


def _sources(organs: Sequence[Organ]) -> str:
    """Return the sources of the published volumes as HTML, each source once."""
    by_source: dict[tuple[str, str], list[str]] = {}
    for organ in organs:
        if published := published_volume(organ.name):
            by_source.setdefault((published.source, published.population), []).append(organ.name)
    lines = [
        f"{html.escape(', '.join(names))}: {html.escape(context)}. {html.escape(source)}."
        for (source, context), names in by_source.items()
    ]
    note = (
        "Published: measured in other people, by other methods; to compare with, not to judge by. For organs without "
        "an entry none was found."
    )
    return "".join(f'<p class="note">{line}</p>' for line in ([note, *lines] if lines else []))


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings)
    return f'<div class="warnings" role="alert"><ul>{items}</ul></div>'


def _details(report: Mapping[str, Any]) -> str:
    """Return the report's facts about input, weights, engine, time and versions as lists of terms."""
    given = report["input"]
    size = " × ".join(str(n) for n in given["size_voxels"])
    spacing = " × ".join(f"{s:g}" for s in given["spacing_mm"])
    image = {"kind": given["kind"], "voxels": f"{size} ({given['axes']})", "spacing": f"{spacing} mm"}
    if "series_sha256_16" in given:
        image["series, hashed"] = given["series_sha256_16"]
    tables = {
        "CT": image,
        "Weights": report["weights"],
        "Computed by": report["engine"],
        "Files, SHA-256": report.get("files", {}),
        "Seconds": {key: f"{value:.2f}" for key, value in report["seconds"].items()} | {"device": report["device"]},
        "Versions": report["versions"],
    }
    return "\n".join(
        f"<details><summary>{html.escape(title)}</summary>{_terms(rows)}</details>"
        for title, rows in tables.items() if rows
    )  # fmt: skip


def _series(given: Mapping[str, Any]) -> str:
    """Return which series was contoured: the hash of its UID, as in logs and in the names of a batch's cases."""
    return f"Series {html.escape(given['series_sha256_16'])} (hashed), " if "series_sha256_16" in given else ""


def _terms(rows: Mapping[str, Any]) -> str:
    pairs = "".join(f"<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>" for k, v in rows.items())
    return f"<dl>{pairs}</dl>"


def _thinned(step: tuple[int, int, int]) -> str:
    if max(step) == 1:
        return ""
    steps = ", ".join(f"one in {n} along {axis}" for n, axis in zip(step, "xyz", strict=True) if n > 1)
    return THINNED.format(steps=steps)


def _encoded(picture: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _json(content: Mapping[str, Any]) -> str:
    # "</script>" in a name would end the element.
    return json.dumps(content).replace("<", "\\u003c")


def _csp_hash(text: str) -> str:
    return _base64(hashlib.sha256(text.encode()).digest())


def _text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")
