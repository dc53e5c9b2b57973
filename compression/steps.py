"""Steps of the chain on disk: what each was asked to do, whether it is done, and what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from oarseg.errors import ConfigError
from oarseg.files import write_text
from oarseg.training.weights import sha256

FACTS, WEIGHTS, RECIPE = "step.json", "model.pt", "recipe.json"
SHOWN = 3


@dataclass(frozen=True)
class Step:
    """One step: its stage, its name within the stage, and the settings it depends on (numbers and words)."""

    stage: str
    name: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def folder(self, root: Path) -> Path:
        return root / self.stage / self.name


def begin(step: Step, root: Path, settings: Mapping) -> bool:
    """Write down what a step is asked to do; whether it is done already.

    Raises ConfigError where the folder holds the step with other settings.
    """
    path = step.folder(root) / FACTS
    found = read(path)
    if found is not None:
        refuse_others(found["settings"], dict(settings), path.parent)
        return "results" in found
    write_text(path, json.dumps({"settings": dict(settings)}, indent=1) + "\n")
    return False


def finish(step: Step, root: Path, state: Mapping[str, Tensor], results: Mapping) -> None:
    """Store a step's plain weights and results, and remove the checkpoints it was resumed from."""
    folder = step.folder(root)
    temporary = folder / f"{WEIGHTS}.partial"
    torch.save({key: value.detach().cpu().contiguous() for key, value in state.items()}, temporary)
    os.replace(temporary, folder / WEIGHTS)
    facts = read(folder / FACTS) | {"results": {**results, "weights_sha256": sha256(folder / WEIGHTS)}}
    write_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    for checkpoint in folder.glob("train_*.pt"):
        checkpoint.unlink()


def done(folder: Path) -> bool:
    """Whether a step's folder holds its results."""
    found = read(folder / FACTS)
    return found is not None and "results" in found and (folder / WEIGHTS).is_file()


def read(path: Path) -> dict | None:
    """The facts in a ``step.json``, None where there is none. Raises ConfigError where they are damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}); remove its folder to run that step again") from error
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise ConfigError(f"{path} says nothing about its settings; remove its folder to run that step again")
    return found


def keep_recipe(root: Path, settings: Mapping[str, str]) -> None:
    """Write down with which training the steps below ``root`` are retrained; raises ConfigError if it was another."""
    path = root / RECIPE
    found = read(path)
    if found is None:
        write_text(path, json.dumps({"settings": dict(settings)}, indent=1) + "\n")
    else:
        refuse_others(found["settings"], dict(settings), root)


def refuse_others(found: Mapping, wanted: Mapping, folder: Path) -> None:
    """Raise ConfigError, naming the first differences, where ``folder`` was made with other settings."""
    # As JSON has them: a tuple comes back as a list.
    wanted = json.loads(json.dumps(dict(wanted)))
    differ = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    if differ:
        shown = "; ".join(f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}" for key in differ[:SHOWN])
        more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        raise ConfigError(
            f"{folder} holds a compression with other settings ({shown}{more}); give another output_dir, or remove it"
        )
