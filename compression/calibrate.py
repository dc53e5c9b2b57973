"""Calibration of a two-stage bundle's compressed networks on training cases, so that they run in 8 bits.

The networks run over the cases as they do for a user, and their inputs are recorded. NNCF finds the range of every
activation in them. The ranges are written to ``models/compressed/ranges.json`` beside the weights (see
``oarseg.inference.engines.stored``); nothing of an image is. A network without a packed weight file there gets one with
the very weights of the bundle. Calibrate again when weights change. Needs: pip install 'oarseg[calibrate]'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.checksum import sha256
from oarseg.cpu import threads
from oarseg.datasets import load_datalist
from oarseg.errors import ConfigError
from oarseg.files import writing
from oarseg.images.read import read_image
from oarseg.inference.engines.graph import build, last, names, ranges_of
from oarseg.inference.engines.openvino_core import CompiledNetwork, OpenVinoCore, import_nncf
from oarseg.inference.engines.packed.reading import read_arrays
from oarseg.inference.engines.stored import FILE, FOLDER, LOCALIZER, MEAN, STD, SUFFIX, Row, read_table, write_table
from oarseg.inference.localize import factor_of
from oarseg.inference.pipeline import Pipeline
from oarseg.sites import Site

CASES = 12
Run = Callable[[np.ndarray], np.ndarray]


class Recorder:
    """A network that keeps its inputs, float32 (1, 1, D, H, W)."""

    def __init__(self, network: Run) -> None:
        self.network, self.factor = network, getattr(network, "factor", 8)
        self.inputs: list[np.ndarray] = []

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.inputs.append(np.array(image, dtype=np.float32, order="C"))
        return self.network(image)


def calibrate(
    dataset_dir: str | Path,
    count: int = CASES,
    bundle: str | Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Calibrate a two-stage bundle on ``count`` training cases of a data set; return the networks' folder.

    ``progress``: called with each step. Raises OarsegError. Earlier ranges are replaced once the new ones are there.
    """
    import_nncf()
    images = list(dict.fromkeys(Path(case["image"]) for case in load_datalist(dataset_dir, "training")))
    images = chosen(images, count)
    pipeline = Pipeline(bundle, "cpu", engine=None)
    folder = pipeline.bundle_root / FOLDER
    refuse_stale(folder, pipeline.weights["sha256"])
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        rows = weight_files(pipeline, folder)
    inputs = record(pipeline, rows, images, progress)
    for name, seen in inputs.items():
        if not seen:
            raise ConfigError(f"{name} was found in none of the cases, so its ranges are unknown; give more cases")
    for name, row in rows.items():
        progress(f"ranges: {name}")
        # Boxes bear a rounded head; the contours of the organs' networks are the result.
        rows[name] = replace(row, ranges=find_ranges(row, inputs[name], head=name == LOCALIZER))
    core = OpenVinoCore()
    made = {"cases": len(images), "openvino": core.openvino.__version__, "nncf": version("nncf")}
    with writing(folder):
        write_table(folder / FILE, pipeline.weights["sha256"], rows, made)
    return folder


def refuse_stale(folder: Path, model_sha256: str) -> None:
    """Raise ConfigError if ``folder`` holds packed networks that were calibrated for other weights of the bundle.

    They would be run in the place of the new ones.
    """
    table = read_table(folder)
    if table is None or table.model_sha256 == model_sha256:
        return
    for row in table.rows.values():
        if row.path.exists() and sha256(row.path) == row.sha256:
            raise ConfigError(f"{row.path} belongs to earlier weights; run oarseg compress collection, or remove it")


def weight_files(pipeline: Pipeline, folder: Path) -> dict[str, Row]:
    """Return a row without ranges for every network; those whose weight file is not in ``folder`` get one."""
    rows = {}
    for name, (mean, std) in statistics(pipeline.site).items():
        path = folder / f"{name}{SUFFIX}"
        if not path.exists():
            from oarseg.compression.packing import write_packed
            from oarseg.training.weights import half

            part = pipeline.network.localizer if name == LOCALIZER else pipeline.network.organs[name]
            write_packed(path, half(part.state_dict()))
        state = read_arrays(path)
        mean, std = float(state.get(MEAN, mean)), float(state.get(STD, std))
        rows[name] = Row(path, sha256(path), mean, std, {})
    return rows


def statistics(site: Site) -> dict[str, tuple[float, float]]:
    """Return the mean and standard deviation of the site table by network, for weights that bring none."""
    return {LOCALIZER: (site.localizer.mean, site.localizer.std)} | {o.key: (o.mean, o.std) for o in site.organs}


def record(
    pipeline: Pipeline, rows: Mapping[str, Row], images: Sequence[Path], progress: Callable[[str], None]
) -> dict[str, list[np.ndarray]]:
    """Return the inputs of each network, by its name, for the CTs ``images``. The networks run in floats meanwhile."""
    core = OpenVinoCore(threads())
    before = pipeline.networks
    # A row without ranges does not know the network's factor; OpenVINO computes other sizes wrongly, or crashes.
    recorders = {n: Recorder(CompiledNetwork(compiling(core, row), factor_of(before[n]))) for n, row in rows.items()}
    pipeline.networks = recorders
    try:
        for number, image in enumerate(images, 1):
            progress(f"cases: {number} of {len(images)}")
            pipeline.segment(read_image(image))
    finally:
        pipeline.networks = before
    return {name: recorder.inputs for name, recorder in recorders.items()}


def compiling(core: OpenVinoCore, row: Row) -> Callable[[], Any]:
    """Return a function that compiles the network of ``row`` in floats."""
    return lambda: core.compile(lambda: build(row.state(), row.mean, row.std), row.key, core.float)


def find_ranges(row: Row, inputs: Sequence[np.ndarray], head: bool = False) -> dict[str, tuple[float, float]]:
    """Return the ranges of a network's activations over ``inputs``; ``head``: also of the input of its last layer.

    Raises ConfigError where NNCF is missing.
    """
    nncf = import_nncf()
    # What NNCF corrects for, weights of its own rounding, is not what the engine runs.
    settings = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)
    graph, seen = build(row.state(), row.mean, row.std), nncf.Dataset(inputs)
    found = ranges_of(nncf.quantize(graph, seen, subset_size=len(inputs), advanced_parameters=settings))
    poolings = sum(key.startswith("up.") for key in found)
    return {name: found[name] for name in [*names(poolings), *([last(poolings)] if head else [])]}


def chosen(images: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of ``images``, evenly spread over the list, always the same ones."""
    count = max(1, min(count, len(images)))
    return [images[i * len(images) // count] for i in range(count)]
