"""Both stages: locate, enlarge the box, cut it out of the original image, segment, map back.

Arrays and functions alone, so that whatever computes the networks can be used: see ``oarseg.inference.engines``.
:class:`oarseg.inference.TwoStageInferer` is the same for MONAI.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from oarseg.geometry.box import Box
from oarseg.geometry.canvas import Canvas
from oarseg.geometry.volume import Volume
from oarseg.inference.localize import Located, Network, factor_of, keep_piece, locate, padded_pass, pieces_of
from oarseg.sites import Organ, Site

LOCALIZER = "localizer"
Progress = Callable[[str], None]


@dataclass
class TwoStageResult:
    """Result of both stages.

    ``label`` uint8 on the grid of the input, (D, H, W), or of the canvas that was given. ``boxes``: enlarged stage-1
    boxes by organ key, mm along the input's axes. ``missing``: why an organ was left out, by key. ``seconds``: time
    spent by step.
    """

    label: np.ndarray
    boxes: dict[str, Box] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def chosen_organs(site: Site, names: Sequence[str] | None) -> list[Organ]:
    """Return the organs of ``names`` (all by default) in order of label value. Raises ConfigError for others."""
    organs = [site.organ(name) for name in names] if names else list(site.organs)
    return sorted(organs, key=lambda organ: organ.value)


def run_stages(
    image: Volume,
    networks: Mapping[str, Network],
    site: Site,
    organs: Sequence[Organ],
    progress: Progress | None = None,
    canvas: Canvas | None = None,
) -> TwoStageResult:
    """Segment ``organs`` in ``image``. An organ that is not found is left out and never ends the run.

    Args: ``networks``: by organ key, and the localizer as "localizer". ``progress``: called as each step begins.
    ``canvas``: what to paint on; a new one on the image's grid by default. Where organs overlap, it decides.
    """
    report_step = progress or (lambda step: None)
    canvas = canvas or Canvas(image.grid)
    result = TwoStageResult(canvas.label)
    report_step("stage 1: locating organs")
    began = time.perf_counter()
    located = locate(image, networks[LOCALIZER], site)
    _release(networks, LOCALIZER)
    result.seconds["localize"] = time.perf_counter() - began
    began = time.perf_counter()
    for organ in organs:
        if organ.key not in located:
            result.missing[organ.key] = "stage 1 did not find it"
            continue
        report_step(f"stage 2: {organ.title}")
        segment_organ(image, canvas, located[organ.key], networks[organ.key], result)
    result.seconds["segment"] = time.perf_counter() - began
    return result


def segment_organ(image: Volume, canvas: Canvas, located: Located, network: Network, result: TwoStageResult) -> None:
    """Cut ``located``'s enlarged box out of ``image``, segment it and paint it onto ``canvas``."""
    organ = located.organ
    box = located.box.enlarged(organ.margin_mm, organ.field_mm)
    grid = box.grid(organ.grid)
    logits = padded_pass(image.on(grid), network, factor_of(network))[0]
    probability = expit(logits[1] - logits[0])
    piece = pieces_of(organ, probability >= 0.5)
    if canvas.paint(organ.value, keep_piece(probability, piece), grid):
        result.boxes[organ.key] = box
    else:
        result.missing[organ.key] = "stage 2 found nothing in stage 1's box"


def stage_one(image: Volume, network: Network, site: Site, canvas: Canvas | None = None) -> np.ndarray:
    """Return the label values that stage 1 alone finds, (D, H, W) uint8, on the grid of ``image`` or on ``canvas``."""
    canvas = canvas or Canvas(image.grid)
    for located in locate(image, network, site).values():
        canvas.paint(located.organ.value, located.probability, located.grid)
    return canvas.label


def _release(networks: Mapping[str, Network], name: str) -> None:
    """Let an engine that keeps the memory of its last pass (see ``StoredNetworks``) give it back."""
    release = getattr(networks, "release", None)
    if release is not None:
        release(name)
