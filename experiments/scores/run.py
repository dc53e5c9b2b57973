"""Scores the shipped bundles on a datalist: stage 1 alone and both stages, on the original grid.

    python -m experiments.scores.run DATASET_DIR                    the validation cases, into the stored results
    python -m experiments.scores.run DATASET_DIR --out FOLDER       elsewhere
    python -m experiments.scores.run DATASET_DIR --out FOLDER --predictions MAPS
                                                                     and keep the label maps, for oarseg evaluate
    python -m experiments.scores.run DATASET_DIR --engine openvino:int8 --out FOLDER
                                                                     the compressed networks, not the original ones

Silver labels never score: only ``label`` is read, and in it only the organs that ``labelled`` names. An organ that was
not found scores 0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments.scores.tables import METHODS, RESULTS, results_table
from oarseg.datasets import load_datalist
from oarseg.datasets.datalist import case_name, case_names
from oarseg.errors import OarsegError
from oarseg.evaluation.cases import TOLERANCE_MM, score_case
from oarseg.evaluation.scores import write_scores
from oarseg.files import whole_file
from oarseg.geometry.label_map import LabelMap
from oarseg.images.label_maps import check_same_grid, read_label_map
from oarseg.images.nifti import write_label_map
from oarseg.images.read import read_image
from oarseg.inference import Pipeline


def score_methods(
    pipeline: Pipeline, case: dict, tolerance_mm: float = TOLERANCE_MM, predictions: Path | None = None
) -> dict[str, list[dict]]:
    """Rows of one case of a datalist by method. ``predictions``: folder to keep the label maps in, a folder a method.

    Raises GeometryError where the labels lie on another grid than the image.
    """
    ct = read_image(case["image"])
    affine = ct.affine
    name = case_name(case["image"])
    reference = read_label_map(case["label"], turn=False)
    rows = {}
    for method, label in zip(METHODS, (pipeline.stage_one(ct), pipeline.segment(ct).label), strict=True):
        check_same_grid(LabelMap(label, affine), reference, name)
        rows[method], _ = score_case(
            name, label, reference.label, affine, case["labelled"], pipeline.site, tolerance_mm
        )
        if predictions:
            _keep(predictions / method / f"{name}.nii.gz", label, affine)
    return rows


def _keep(path: Path, label: np.ndarray, affine: np.ndarray) -> None:
    with whole_file(path) as temporary:
        write_label_map(temporary, label, affine)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir", help="folder with dataset.json")
    parser.add_argument("--section", default="validation", help="of the datalist (default: validation)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the CSVs (default: the stored results)")
    parser.add_argument("--predictions", type=Path, metavar="FOLDER", help="also save the label maps there, as NIfTI")
    parser.add_argument("--bundle-root", help="folder of a two-stage bundle (default: the installed one)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="torch", help="as of oarseg segment (default: torch, the reference)")
    args = parser.parse_args(argv)
    try:
        cases = load_datalist(args.dataset_dir, args.section)
        case_names([case["image"] for case in cases])  # two of one name end it before the work, not after
        pipeline = Pipeline(args.bundle_root, args.device, engine=args.engine)
        rows: dict[str, list[dict]] = {method: [] for method in METHODS}
        for case in tqdm(cases, desc="cases", disable=None):
            for method, scored in score_methods(pipeline, case, predictions=args.predictions).items():
                rows[method] += scored
        for method in METHODS:
            write_scores(args.out / f"{method}.csv", rows[method])
        print(results_table(pipeline.site, args.out))
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
