"""Trains one network of the plan through its bundle, in a process of its own, and says what it cost."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from experiments.ablation.plan import Training
from oarseg.errors import ConfigError, OarsegError
from oarseg.files import write_text
from oarseg.training import load_weights

OVERRIDES, COST, WEIGHTS = "overrides.json", "cost.json", "model.pt"
LAST_STEPS = 20


def command(training: Training, dataset_dir: str, work_dir: str, bundles: str) -> list[str]:
    """What trains: MONAI's own entry, the bundle's config, and the row's overrides as a second one over it."""
    folder = f"{work_dir}/{training.folder}"
    files = [f"{bundles}/{training.bundle}/configs/train.json", f"{folder}/{OVERRIDES}"]
    options = {"config_file": f"[{', '.join(repr(f) for f in files)}]", "dataset_dir": dataset_dir}
    options["output_dir"] = folder
    return ["python", "-m", "monai.bundle", "run", "training", *(f"--{k}={v}" for k, v in options.items())]


def shown(run: list[str]) -> str:
    """A command as one types it."""
    # Double quotes around lists: inside them are single ones, which shlex would take apart.
    return " ".join(f'"{part}"' if "'" in part else shlex.quote(part) for part in run)


def train(
    training: Training, dataset_dir: Path, work_dir: Path, bundles: Path, device: str | None = None, threads: int = 1
) -> dict:
    """Train, or go on where a former run was stopped; what is written lies in ``work_dir / training.folder``.

    Returns the facts: command, overrides, steps done, core seconds (processor time of the process) and wall seconds,
    mean loss of the last steps, parameters. Raises ConfigError where the folder holds a run with other settings,
    OarsegError where training fails.
    """
    folder = work_dir / training.folder
    _begin(training, folder, device)
    former, already = json.loads((folder / COST).read_text(encoding="utf-8")), _steps(folder)
    run = command(training, str(dataset_dir), str(work_dir), str(bundles))
    print(f"{training.folder}: {shown(run)}", flush=True)
    code = _run([sys.executable, *run[1:]], folder, threads)
    if code or not (folder / WEIGHTS).is_file():
        raise OarsegError(f"training {training.folder} ended with status {code}; its log is {folder}/train.log")
    steps, loss = _curve(folder)
    if steps == already:
        # A finished run was started again for its facts: what reading the data anew cost is not the training's.
        _write_cost(folder, former)
    spent = json.loads((folder / COST).read_text(encoding="utf-8"))
    return {
        "bundle": training.bundle,
        # What differs from machine to machine is left open.
        "command": shown(command(training, "DATASET", "runs/ablations", "bundles")),
        "overrides": dict(training.overrides),
        "recipe": _recipe(bundles / training.bundle),
        "steps": steps,
        # A run stopped from outside left no account of its time: better none than one too small.
        "core_seconds": round(spent["core_seconds"], 1) if spent["whole"] else None,
        "seconds": round(spent["seconds"], 1) if spent["whole"] else None,
        "final_loss": round(loss, 4),
        "parameters": sum(p.numel() for p in network_of(training, bundles).parameters()),
    }


def network_of(training: Training, bundles: Path) -> nn.Module:
    """The untrained network: built by the bundle's config with the row's overrides."""
    root = bundles / training.bundle
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "train.json"))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    parser.update(dict(training.overrides) | {"bundle_root": str(root)})
    return parser.get_parsed_content("network_def").eval()


def trained(training: Training, work_dir: Path, bundles: Path) -> nn.Module:
    """The network of a finished run with the run's weights. Raises WeightsError where there are none."""
    network = network_of(training, bundles)
    load_weights(network, work_dir / training.folder / WEIGHTS)
    return network


def begin_anew(training: Training, work_dir: Path) -> None:
    """Remove a former run of this row, and nothing that is not one."""
    folder = work_dir / training.folder
    if (folder / OVERRIDES).is_file():
        shutil.rmtree(folder)


def _begin(training: Training, folder: Path, device: str | None) -> None:
    """Write the overrides, unless those of another run lie there."""
    content = dict(training.overrides) | ({"device": f"$torch.device({device!r})"} if device else {})
    text, path = json.dumps(content, indent=1) + "\n", folder / OVERRIDES
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{folder} holds a run with other settings; use --force to begin anew")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if not (folder / COST).is_file():
        whole = not list(folder.glob("train_*.pt"))
        _write_cost(folder, {"core_seconds": 0, "seconds": 0, "whole": whole})


def _run(run: list[str], folder: Path, threads: int) -> int:
    """Status of a process; what it prints goes into ``train.log``, and its cost is added to what the folder tells."""
    spent = json.loads((folder / COST).read_text(encoding="utf-8"))
    # If this process is stopped before that one ends, nobody is left to take account of it.
    _write_cost(folder, spent | {"whole": False})
    began = time.perf_counter()
    with open(folder / "train.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            run, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )
        # Not Popen.wait: wait4 tells what this very child used, whatever runs beside it.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    spent["core_seconds"] += usage.ru_utime + usage.ru_stime
    spent["seconds"] += time.perf_counter() - began
    _write_cost(folder, spent)
    return process.returncode


def _write_cost(folder: Path, spent: dict) -> None:
    write_text(folder / COST, json.dumps(spent))


def _steps(folder: Path) -> int:
    """Steps that the run's TensorBoard files tell of; 0 where there are none."""
    try:
        return _curve(folder)[0]
    except OarsegError:
        return 0


def _curve(folder: Path) -> tuple[int, float]:
    """Steps done, and the mean loss of the last ``LAST_STEPS``, from the run's TensorBoard file."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    if "train_loss" not in events.Tags()["scalars"]:
        raise OarsegError(f"{folder} holds no training curve; use --force to begin anew")
    curve = events.Scalars("train_loss")
    last = [point.value for point in curve[-LAST_STEPS:]]
    return curve[-1].step, float(torch.tensor(last).mean())


def _recipe(bundle: Path) -> str:
    """Short hash of the bundle's training config and organ table: equal where rows were trained by one recipe."""
    files = [bundle / "configs" / name for name in ("train.json", "site.json")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
