"""Models and engines in turns on one CT; the results as one dictionary (``oarseg benchmark -o``)."""

from __future__ import annotations

import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from oarseg.benchmark.process import Ended, python_module, run_process
from oarseg.errors import ConfigError, InputError
from oarseg.images.results_folder import SEGMENTATION
from oarseg.inference.bundle import read_bundle
from oarseg.inference.engines import check_engine

SCHEMA = 1
CHILD = "oarseg.benchmark.child"
REFERENCE = "reference"
# Steps by the names that users know, with those of report.json; "whole" is the process from start to end.
STEPS = {"read": "read", "load": "load", "stage 1": "localize", "stage 2": "segment", "write": "write"}
NETWORKS = "stage 1 + stage 2"
# Processor seconds of all threads, which other work on the machine disturbs least: of the whole process, and of the
# networks' passes alone.
CPU, PASSES_CPU = "whole, processor", "networks' passes, processor"
# Of stage 1 the network alone, without resampling before and looking for organs after it.
STAGE_1, LOCALIZER_PASSES = "stage 1", "stage 1, network"
COMPARED = (NETWORKS, "whole", CPU, PASSES_CPU, STAGE_1, LOCALIZER_PASSES)


@dataclass(frozen=True)
class Setup:
    """One thing to measure. ``engine``: as of ``oarseg segment --engine``; None for the reference."""

    name: str
    bundle: Path
    engine: str | None


@dataclass
class Turn:
    """One process of a setup. ``seconds``: by step."""

    ended: Ended
    label: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def setups(engines: Sequence[str], models: Sequence[Path], reference: Path | None = None) -> list[Setup]:
    """Return the reference, then every model with every engine.

    Args: ``models``: folders of two-stage bundles beside the ``reference``, the installed one by default.
    Raises ConfigError for an unknown engine or what is no bundle, WeightsError where one has no weights.
    """
    for engine in engines:
        check_engine(engine)
    if not engines:
        raise ConfigError("no engine to measure; give one or more, such as --engines torch,openvino")
    base = read_bundle(reference).root
    folders = [base, *(read_bundle(folder).root for folder in models)]
    folders = list({folder.resolve(): folder for folder in folders}.values())
    names = [folder.resolve().name for folder in folders]
    named = {
        folder: name if names.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        for folder, name in zip(folders, names, strict=True)
    }
    rows = [Setup(f"{named[folder]}, {engine}", folder, engine) for folder in folders for engine in engines]
    return [Setup(REFERENCE, base, None), *rows]


def in_turns(
    ct: Path,
    rows: Sequence[Setup],
    repeats: int,
    threads: int | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda step: None,
    also: Callable[[], None] = lambda: None,
) -> dict[str, list[Turn]]:
    """Run ``repeats`` processes of every row, in turns, so that other work of the machine slows all rows alike.

    Each turn begins with another row and ends with a call of ``also``. The label map of the first turn alone is kept.
    Raises RunError if a process fails.
    """
    if not ct.exists():
        raise InputError(f"{ct} does not exist; give a DICOM folder, a NIfTI or an NRRD file")
    turns: dict[str, list[Turn]] = {row.name: [] for row in rows}
    for number in range(repeats):
        first = number % len(rows)
        for row in [*rows[first:], *rows[:first]]:
            progress(f"turn {number + 1} of {repeats}: {row.name}")
            turns[row.name].append(one_turn(ct, row, threads, device, keep=number == 0))
        also()
    return turns


def one_turn(ct: Path, row: Setup, threads: int | None, device: str, keep: bool) -> Turn:
    """Measure one row in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="oarseg-benchmark-") as folder:
        out = Path(folder) / "out"
        job = {"ct": str(ct.resolve()), "out": str(out), "bundle": str(row.bundle.resolve())}
        ended = run_process(python_module(CHILD), job | {"engine": row.engine, "device": device}, row.name, threads)
        label = np.asarray(nib.load(out / SEGMENTATION).dataobj) if keep else None
    reported = ended.answer["seconds"]
    seconds = {step: float(reported.get(key, 0.0)) for step, key in STEPS.items()}
    seconds[NETWORKS] = seconds["stage 1"] + seconds["stage 2"]
    seconds |= {"whole": ended.wall, CPU: ended.cpu, PASSES_CPU: float(reported["passes_cpu"])}
    return Turn(ended, label, seconds | {LOCALIZER_PASSES: float(reported["localizer_passes"])})


def summed_up(rows: Sequence[Setup], turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    """Return the CT, the machine, and of every row time, memory, size, operations and agreement."""
    from oarseg.inference.report.content import versions

    first = turns[REFERENCE][0]
    machine = {"processor": processor(), "machine": platform.machine(), "device": first.ended.answer["device"]}
    return {
        "schema": SCHEMA,
        "ct": first.ended.answer["input"],
        "machine": machine | {"versions": versions()},
        "repeats": len(turns[REFERENCE]),
        "rows": [_row(row, turns[row.name], turns[REFERENCE]) for row in rows],
    }


def _row(row: Setup, turns: Sequence[Turn], reference: Sequence[Turn]) -> dict[str, Any]:
    from oarseg.benchmark.operations import gflop_of_passes

    answer = turns[0].ended.answer
    gflop = gflop_of_passes(row.bundle, answer["compressed"], answer["passes"])
    return {
        "name": row.name,
        "model": row.bundle.resolve().name,
        "engine": row.engine,
        "computed": answer["computed"],
        "compressed": answer["compressed"],
        "model_bytes": answer["model_bytes"],
        "seconds": {step: spread([turn.seconds[step] for turn in turns]) for step in turns[0].seconds},
        "peak_memory_mib": round(max(turn.ended.answer["peak_memory_mib"] for turn in turns), 1),
        "ratio": {step: ratios(turns, reference, step) for step in COMPARED},
        "gflop": round(sum(gflop.values()), 3),
        "gflop_by_network": gflop,
        "dice": agreement(turns[0], reference[0]),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return least, median and all values, to the millisecond."""
    rounded = [round(value, 3) for value in values]
    return {"min": min(rounded), "median": round(statistics.median(values), 3), "all": rounded}


def ratios(turns: Sequence[Turn], reference: Sequence[Turn], step: str) -> dict[str, float]:
    """Return how many times as quick as the reference a row is: by the least seconds, and the median over the turns."""
    pairs = [(turn.seconds[step], other.seconds[step]) for turn, other in zip(turns, reference, strict=True)]
    ours, theirs = zip(*pairs, strict=True)
    return {
        "min": round(min(theirs) / max(min(ours), 1e-9), 3),
        "median": round(statistics.median(b / max(a, 1e-9) for a, b in pairs), 3),
    }


def agreement(turn: Turn, reference: Turn) -> dict[str, Any]:
    """Return the Dice of each organ against the reference's label map; None where neither found it."""
    if turn.label is None or reference.label is None:
        raise ConfigError("the first turn of each row keeps its label map; there is none to compare")
    organs, others = turn.ended.answer["organs"], reference.ended.answer["organs"]
    dice: dict[str, float | None] = {}
    for key in [key for key in others if key in organs]:
        ours, theirs = turn.label == organs[key], reference.label == others[key]
        total = int(ours.sum()) + int(theirs.sum())
        dice[key] = round(2 * int((ours & theirs).sum()) / total, 5) if total else None
    there = [value for value in dice.values() if value is not None]
    mean, lowest = (round(statistics.fmean(there), 5), min(there)) if there else (None, None)
    return {"mean": mean, "lowest": lowest, "organs": dice}


def processor() -> str:
    """Return the processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
