"""Make the next round of silver labels: contours of the two-stage bundle that pass a filter.

    python -m experiments.silver.run DATASET OUT                    eyes and optic nerves
    python -m experiments.silver.run DATASET OUT --organs all       every organ of the bundle's table; or a list
    python -m experiments.silver.run DATASET OUT2 --former OUT      the round after it, with better weights
    python -m monai.bundle run training ... --silver OUT            trains on it

DATASET stays as it is. OUT gets ``silver.json`` and ``labels/`` (see ``oarseg.datasets.silver_list``), ``report.md``,
and ``contours/``, the network's raw label maps, from which an interrupted run continues. A case's own labels, expert
or clinical, are never replaced; an organ whose contour fails every check stays unlabelled. Silver labels train and
never score.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from experiments.silver.choice import Opinions, Verdict, choose
from experiments.silver.contours import Draw, Drawer, claim, contour_files, draw_all, write_label
from experiments.silver.filter import Scan
from experiments.silver.report import report, summary
from oarseg.checksum import sha256
from oarseg.datasets.datalist import load_datalist, load_rows, output_name
from oarseg.datasets.silver_list import LIST, PROPAGATED, SilverCase, SilverList, read_silver
from oarseg.errors import ConfigError, GeometryError, InputError, OarsegError
from oarseg.files import write_json, write_text
from oarseg.sites import Site

ORGANS = "eye_left,eye_right,optic_nerve_left,optic_nerve_right"
ALL = "all"
SCORING = ("validation", "test")
# Affines of one grid differ by what a file's single precision leaves of them.
SAME_MM = 1e-2


def make_silver(
    dataset: Path, out: Path, site: Site, organs: Sequence[str], source: dict, make: Callable[[], Draw],
    section: str = "training", former: Path | None = None, jobs: int = 1,
) -> dict[str, list[Verdict]]:  # fmt: skip
    """Write a folder of silver labels; return the verdicts by case name.

    Args: ``organs``: keys to label. ``source``: what ``make`` draws with, for the record. ``make``: builds what draws a
    case, once in each of ``jobs`` processes. ``former``: folder of the round before; DATASET's propagated labels if
    None. Raises ConfigError, InputError, GeometryError or OutputError.
    """
    if section in SCORING:
        raise ConfigError(f"section {section!r} scores, and silver labels never score; give a section for training")
    organs = [site.organ(key).key for key in organs]
    cases = _cases(dataset, section)
    earlier = read_silver(former) if former else _propagated(dataset, section)
    if earlier.section != section:
        raise ConfigError(f"{former} holds silver labels for section {earlier.section!r}, not for {section!r}")
    drawn_from = {"dataset": sha256(dataset / "dataset.json"), "section": section, "organs": sorted(organs)}
    claim(out, source | drawn_from | {"former": earlier.round})
    draw_all(((Path(c["image"]), contour_files(out, name)) for name, c in cases.items()), make, jobs)
    verdicts, listed = {}, {}
    for name, case in cases.items():
        label, origins, verdicts[name] = choose(_opinions(case, contour_files(out, name), earlier), site, organs)
        if origins:
            path = out / "labels" / f"{name}.nii.gz"
            write_label(path, label, nib.load(case["image"]).affine)
            listed[case["row"]] = {"label": f"labels/{path.name}", "organs": origins}
    number = earlier.round + 1
    content = {"section": section, "round": number, "source": source, "cases": listed}
    write_text(out / "report.md", report(verdicts, organs, f"Silver labels, round {number}"))
    # Last: where it stands, all that it names does.
    write_json(out / LIST, content)
    return verdicts


def _cases(dataset: Path, section: str) -> dict[str, dict]:
    """The cases of the section by the name of their results, with ``row``, the image's name in the datalist."""
    cases: dict[str, dict] = {}
    rows = load_rows(dataset.resolve(), section)
    for row, case in zip(rows, load_datalist(dataset, section), strict=True):
        name = output_name({"filename_or_obj": case["image"]})["subject"]
        if name in cases:
            raise InputError(f"{cases[name]['row']} and {row['image']} would share one label map; rename one")
        cases[name] = case | {"row": row["image"]}
    return cases


def _propagated(dataset: Path, section: str) -> SilverList:
    """The propagated labels of the datalist as round 0."""
    plain, silver = (load_datalist(dataset, section, silver=with_silver) for with_silver in (False, True))
    rows = load_rows(dataset.resolve(), section)
    cases = {}
    for row, own, both in zip(rows, plain, silver, strict=True):
        more = [key for key in both["labelled"] if key not in own["labelled"]]
        if more:
            cases[row["image"]] = SilverCase(Path(both["label"]), dict.fromkeys(more, PROPAGATED))
    return SilverList(section, 0, cases)


def _opinions(case: dict, drawn: Sequence[Path], earlier: SilverList) -> Opinions:
    """Read all label maps of a case; raises GeometryError where they are not on the image's grid."""
    before = earlier.cases.get(case["row"])
    hu, affine = _read(Path(case["image"]), None)
    own, first, second = (_read(Path(path), (hu.shape, affine))[0] for path in (case["label"], *drawn))
    former = _read(before.label, (hu.shape, affine))[0] if before else np.zeros_like(own)
    origins = {k: v for k, v in before.organs.items() if k not in case["labelled"]} if before else {}
    return Opinions(Scan(hu, affine), own, case["labelled"], former, origins, first, second)


def _read(path: Path, like: tuple | None) -> tuple[np.ndarray, np.ndarray]:
    """A file's volume and affine; with ``like`` (shape, affine), as uint8 labels on that grid."""
    try:
        image = nib.load(path)
        array = np.asarray(image.dataobj)
    except (OSError, EOFError, ValueError, ImageFileError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
    if like is None:
        return array, image.affine
    if array.shape != like[0] or not np.allclose(image.affine, like[1], atol=SAME_MM):
        raise GeometryError(f"{path.parent.name}/{path.name} {array.shape} is not on its image's grid {like[0]}")
    label = array.astype(np.uint8)
    if not np.array_equal(label, array):
        where = f"{path.parent.name}/{path.name}"
        raise InputError(f"{where}: voxels are no label values; expected whole numbers from 0 to 255")
    return label, image.affine


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.silver.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="folder with dataset.json")
    parser.add_argument("out", type=Path, help="folder for the silver labels; a later run goes on from it")
    parser.add_argument("--organs", default=ORGANS, help=f"keys or TG-263 names, or all (default: {ORGANS})")
    parser.add_argument("--section", default="training", help="of dataset.json (default: training)")
    parser.add_argument("--former", type=Path, help="silver labels of the round before (default: the propagated ones)")
    parser.add_argument("--bundle-root", help="two-stage bundle (default: the installed one)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs is {args.jobs}; expected 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status is 1 where something is wrong, with the reason on one line."""
    from oarseg.inference import Pipeline

    args = parse(argv)
    organs = None if args.organs == ALL else [key.strip() for key in args.organs.split(",")]
    try:
        # Loaded here too, so that a wrong bundle or organ ends the run before any process starts.
        pipeline = Pipeline(args.bundle_root, args.device, organs, "torch")
        organs = [organ.key for organ in pipeline.site.organs] if organs is None else organs
        make = partial(Drawer, args.bundle_root, args.device, organs)
        verdicts = make_silver(
            args.dataset, args.out, pipeline.site, organs, pipeline.weights, make, args.section, args.former, args.jobs
        )
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary(verdicts, organs))
    print(f"\nsilver labels, and the report with each case's outcome: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
