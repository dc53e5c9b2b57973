"""What makes a site table contradict itself, in words: names, labels, sides, sizes.

>>> from oarseg.sites import load_site
>>> problems(load_site("thorax"))
[]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oarseg.sites.table import Localizer, Organ, Site

# Three poolings (table 3-3 of the method) halve every size three times.
FACTOR = 8
# Label maps are uint8, and 255 marks what a case does not label.
MAX_ORGANS = 254
# TG-263 names: 16 characters, for the planning systems that cut longer ones.
MAX_NAME = 16
KEY = re.compile(r"[a-z][a-z0-9_]*")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_~^+-]*")
# Names that bundles and configs use for other things.
RESERVED = ("localizer", "two_stage", "background")
SIDES = {"L": "R", "R": "L"}
# What stage 1 can sensibly see; finer is a typing error or needs more memory than a workstation has.
SPACING_MM = (0.5, 10.0)
MAX_WIDTH = 64
# Stage 2 is there to see finer than stage 1. On a small machine, or in a test, it may be coarser; beyond this factor it
# is a digit too many.
COARSER = 4.0


def problems(site: Site) -> list[str]:
    """Return all contradictions in ``site``; none in a good table."""
    found = [*_site(site), *_localizer(site.localizer)]
    for organ in site.organs:
        found += [f"{organ.key}: {problem}" for problem in (*_names(organ), *_sizes(organ, site.localizer))]
    return found + [f"{organ.key}: {problem}" for organ in site.organs for problem in _sides(organ, site)]


def _site(site: Site) -> Iterator[str]:
    for field in ("site", "prefix"):
        if not KEY.fullmatch(getattr(site, field)):
            yield f"{field} {getattr(site, field)!r} must be lower-case letters, digits and underscores"
    if not re.fullmatch(r"[a-z0-9_]*\{key\}[a-z0-9_]*", site.organ_bundles):
        rule = "lower-case letters, digits, underscores and {key} once, such as 'neck_{key}_ct_segmentation'"
        yield f"organ_bundles {site.organ_bundles!r} must be {rule}"
    for text in (site.title, site.data or "", *(organ.title for organ in site.organs)):
        if "#" in text:
            yield f"{text!r} holds '#', which MONAI reads as a path in every config and in metadata.json"
    if not 1 <= len(site.organs) <= MAX_ORGANS:
        yield f"{len(site.organs)} organs, expected 1 to {MAX_ORGANS}"
    if [o.value for o in site.organs] != list(range(1, len(site.organs) + 1)):
        yield "label values must be 1, 2, 3, ... in order"
    for field in ("key", "name", "title", "color"):
        seen = [getattr(o, field) for o in site.organs]
        if len(set(seen)) != len(seen):
            twice = next(value for value in seen if seen.count(value) > 1)
            yield f"two organs share one {field}: {twice}"


def _localizer(row: Localizer) -> Iterator[str]:
    low, high = SPACING_MM
    if not all(low <= s <= high for s in row.spacing_mm):
        yield f"localizer: spacing_mm {_list(row.spacing_mm)} must be {low:g} to {high:g} mm"
    for field in ("window", "train_crop"):
        yield from (f"localizer: {problem}" for problem in _divides(field, getattr(row, field)))
    if any(c > w for c, w in zip(row.train_crop, row.window, strict=True)):
        yield f"localizer: train_crop {_list(row.train_crop)} must fit into window {_list(row.window)}"
    yield from (f"localizer: {problem}" for problem in _network(row))


def _names(organ: Organ) -> Iterator[str]:
    if not KEY.fullmatch(organ.key):
        yield f"{organ.key!r}: a key is lower-case letters, digits and underscores"
    if organ.key in RESERVED:
        yield "this key has another meaning in bundles; choose another"
    if not NAME.fullmatch(organ.name) or len(organ.name) > MAX_NAME:
        yield f"name {organ.name!r} must be a TG-263 name: letters, digits, _, at most {MAX_NAME} of them"
    if not all(0 <= c <= 255 for c in organ.color):
        yield f"color {_list(organ.color)} must be red, green and blue of 0 to 255"


def _sizes(organ: Organ, localizer: Localizer) -> Iterator[str]:
    yield from _divides("grid", organ.grid)
    yield from _network(organ)
    low, high = organ.volume_cm3
    if not 0 < low < high:
        yield f"volume_cm3 {_list(organ.volume_cm3)} must be a lower and an upper limit above 0"
    if min(organ.margin_mm) < 0 or min(organ.field_mm) <= 0:
        yield "margin_mm and field_mm must not be negative"
    elif min(organ.grid) > 0:
        yield from _field(organ, localizer)
    if organ.extent_mm:
        box = organ.extent_mm[0] * organ.extent_mm[1] * organ.extent_mm[2] / 1000
        if high > box:
            yield f"volume_cm3 up to {high:g} does not fit into extent_mm {_list(organ.extent_mm)} ({box:.4g} cm3)"


def _field(organ: Organ, localizer: Localizer) -> Iterator[str]:
    """Compare the crop of stage 2 with the organ, its margin, and what stage 1 sees."""
    extent = organ.extent_mm or (0, 0, 0)
    least = [e + 2 * m for e, m in zip(extent, organ.margin_mm, strict=True)]
    if any(f < n for f, n in zip(organ.field_mm, least, strict=True)):
        of = "extent_mm and twice margin_mm" if organ.extent_mm else "twice margin_mm"
        yield f"field_mm {_list(organ.field_mm)} is smaller than {of}: {_list(least)}"
    voxel = [f / g for f, g in zip(organ.field_mm, organ.grid, strict=True)]
    if any(v > COARSER * s + 1e-6 for v, s in zip(voxel, localizer.spacing_mm, strict=True)):
        coarse = f"voxels of {_list(voxel)} mm, much coarser than the localizer's {_list(localizer.spacing_mm)}"
        yield f"field_mm over grid gives {coarse}; a smaller field or a larger grid is needed"


def _sides(organ: Organ, site: Site) -> Iterator[str]:
    """Left and right: names that say a side need a partner, and on symmetric sites both are seen alike."""
    side = organ.name[-1] if organ.name[-2:] in ("_L", "_R") else None
    if organ.mirror is None:
        if side:
            yield f"mirror must name the organ on the other side, as the name {organ.name} says a side"
        return
    twin = next((o for o in site.organs if o.key == organ.mirror), None)
    if twin is None or twin.mirror != organ.key or twin is organ:
        yield f"mirror must name an organ that names it back, not {organ.mirror!r}"
    elif not side or twin.name != organ.name[:-1] + SIDES[side]:
        yield f"mirror {twin.name} must be called as {organ.name}, with _L and _R exchanged"
    elif not organ.key.endswith("_left" if side == "L" else "_right"):
        yield f"the key of {organ.name} must end in {'_left' if side == 'L' else '_right'}"
    elif site.symmetric:
        # One network is trained on both sides, and its kernels flipped give the other side's.
        for field in ("grid", "field_mm", "margin_mm", "base_width"):
            if getattr(organ, field) != getattr(twin, field):
                yield f"{field} differs from {twin.key}'s, but a symmetric site's sides share one network"


def _divides(field: str, sizes: Sequence[int]) -> Iterator[str]:
    if any(n % FACTOR or n < FACTOR for n in sizes):
        yield f"{field} {_list(sizes)} must divide by {FACTOR} (three poolings)"


def _network(row: Localizer | Organ) -> Iterator[str]:
    if not 1 <= row.base_width <= MAX_WIDTH:
        yield f"base_width {row.base_width} must be 1 to {MAX_WIDTH}"
    if row.std <= 0:
        yield f"std {row.std:g} must be above 0"


def _list(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{v:g}" for v in values) + "]"
