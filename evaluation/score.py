"""Scores the shipped bundles on a datalist: stage 1 alone and both stages, on the original grid.

    python -m oarseg.evaluation.score DATASET_DIR                  the validation cases, into the stored results
    python -m oarseg.evaluation.score DATASET_DIR --out mine.csv   elsewhere

Silver labels never score: only ``label`` is read, and in it only the organs that ``labelled`` names. An organ that was
not found scores 0.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import LoadImage
from tqdm import tqdm

from oarseg.datasets import load_datalist
from oarseg.errors import GeometryError, OarsegError
from oarseg.evaluation.results import METHODS, RESULTS, results_table
from oarseg.inference import LocalizerInferer, Pipeline
from oarseg.inference.pipeline import on_axes_of

FIELDS = ("case", "method", "organ", "dice", "found", "reference_cm3", "predicted_cm3")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """2 |a and b| / (|a| + |b|) of two masks (eq. 2-6); NaN where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def score_case(pipeline: Pipeline, case: dict) -> Iterator[dict]:
    """Rows of one case: both methods, every organ that it labels. Raises GeometryError where grids differ."""
    image = LoadImage(image_only=True, ensure_channel_first=True)(case["image"])
    reference = nib.load(case["label"])
    if reference.shape != tuple(image.shape[1:]) or not np.allclose(reference.affine, image.affine, atol=1e-3):
        raise GeometryError(f"{Path(case['label']).name}: labels lie on another grid than the image")
    truth = np.asarray(reference.dataobj)
    voxel_cm3 = abs(np.linalg.det(reference.affine[:3, :3])) / 1000
    for method, label in zip(METHODS, (stage_one(pipeline, image), pipeline.segment(image).label), strict=True):
        for key in case["labelled"]:
            value = pipeline.site.organ(key).value
            is_true, is_found = truth == value, label == value
            yield {
                "case": Path(case["image"]).name.split(".")[0],
                "method": method,
                "organ": key,
                "dice": f"{dice(is_true, is_found):.4f}",
                "found": bool(is_found.any()),
                "reference_cm3": f"{is_true.sum() * voxel_cm3:.2f}",
                "predicted_cm3": f"{is_found.sum() * voxel_cm3:.2f}",
            }


def stage_one(pipeline: Pipeline, image: MetaTensor) -> np.ndarray:
    """What stage 1 alone says, on the image's own voxels and axis order."""
    prepared = pipeline.prepare({"image": image})["image"]
    label = LocalizerInferer(pipeline.site)(prepared[None].to(pipeline.device), pipeline.network.localizer)
    return on_axes_of(np.asarray(image.affine), label[0, 0].as_tensor(), prepared)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir", help="folder with dataset.json")
    parser.add_argument("--section", default="validation", help="of the datalist (default: validation)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV to write (default: the stored results)")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    try:
        cases = load_datalist(args.dataset_dir, args.section)
        pipeline = Pipeline(device=args.device)
        rows = [row for case in tqdm(cases, desc="cases", disable=None) for row in score_case(pipeline, case)]
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    args.out.parent.mkdir(parents=True, exist_ok=True)
    partial = args.out.with_suffix(".partial")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, args.out)
    print(results_table(pipeline.site, args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
