"""What a misplaced box costs: stage 2's Dice in boxes that were shifted on purpose.

Shifting the reference's box shows what stage 2 stands by itself; shifting stage 1's box shows what a further error
would do to the system as it is. The boxes are enlarged and segmented by what does it at inference; each organ is
painted alone, so no neighbour takes its voxels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.localization.coverage import LocatedCase, located_case, share_inside, weights_name
from experiments.localization.store import FACES, ShiftRow, rule_of
from oarseg.inference import Canvas, Pipeline, TwoStageResult
from oarseg.inference.localize import Located
from oarseg.inference.two_stage import segment_organ
from oarseg.sites import Organ
from oarseg.transforms import Box, box_of_mask

# mm from each start. Fewer from stage 1's box: it is misplaced already.
SHIFTS_MM = {"reference": (2, 4, 8, 12, 16, 20), "stage1": (4, 8, 16)}


def shift_rows(pipeline: Pipeline, case: dict) -> Iterator[ShiftRow]:
    """Rows of one case: each organ that it labels, both starts, every direction and distance.

    An organ that stage 1 did not find has no rows that start from its box.
    """
    done = located_case(pipeline, case)
    for key in done.labelled:
        mask, organ = done.mask(pipeline, key), pipeline.site.organ(key)
        measured = (rule_of(organ), weights_name(pipeline))
        starts = {"reference": box_of_mask(mask, done.grid)}
        if key in done.located:
            starts["stage1"] = done.located[key].box
        for start, box in starts.items():
            for direction, distance in [("none", 0), *((f, s) for s in SHIFTS_MM[start] for f in FACES)]:
                moved = shifted(box, direction, distance)
                scores = stage_two(pipeline, done, organ, mask, moved)
                yield ShiftRow(done.name, key, start, direction, float(distance), *scores, *measured)


def shifted(box: Box, direction: str, distance: float) -> Box:
    """``box`` moved by ``distance`` mm towards a face of ``FACES``; "none" leaves it where it is."""
    step = [0.0, 0.0, 0.0]
    if direction != "none":
        index = FACES.index(direction)
        step[index // 2] = distance if index % 2 else -distance
    low, high = (tuple(c + s for c, s in zip(corner, step, strict=True)) for corner in (box.low, box.high))
    return Box(low, high)


def stage_two(
    pipeline: Pipeline, case: LocatedCase, organ: Organ, mask: np.ndarray, box: Box
) -> tuple[float, float]:
    """Share of ``mask`` inside the enlarged ``box``, and Dice (eq. 2-6) of what stage 2 paints from there."""
    canvas = Canvas(case.grid)
    place = Located(organ, np.empty((0, 0, 0)), case.grid, box)  # of which organ and box are taken
    segment_organ(case.image, canvas, place, pipeline.networks[organ.key], TwoStageResult(canvas.label))
    found = canvas.label == organ.value
    share = share_inside(mask, case.grid, box.enlarged(organ.margin_mm, organ.field_mm))
    return share, float(2 * (found & mask).sum() / (found.sum() + mask.sum()))
