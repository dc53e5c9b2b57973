"""Steps of the chain on disk: the settings of each, whether it is done, and its results."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from oarseg.errors import ConfigError
from oarseg.files import write_bytes, write_json
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
    """Write down a step's settings; return whether the step is done already.

    Raises ConfigError where the folder holds the step with other settings.
    """
    path = step.folder(root) / FACTS
    found = read(path)
    if found is not None:
        refuse_others(found["settings"], dict(settings), path.parent)
        return "results" in found
    write_json(path, {"settings": dict(settings)})
    return False


def finish(step: Step, root: Path, state: Mapping[str, Tensor], results: Mapping) -> None:
    """Store a step's plain weights and results, and remove its checkpoints."""
    folder = step.folder(root)
    # Into memory first: PyTorch writes a file's name into the file, and so into its SHA-256.
    content = io.BytesIO()
    torch.save({key: value.detach().cpu().contiguous() for key, value in state.items()}, content)
    write_bytes(folder / WEIGHTS, content.getvalue())
    facts = read(folder / FACTS) | {"results": {**results, "weights_sha256": sha256(folder / WEIGHTS)}}
    write_json(folder / FACTS, facts)
    for checkpoint in folder.glob("train_*.pt"):
        checkpoint.unlink()


def done(folder: Path) -> bool:
    """Return whether a step's folder holds its results."""
    found = read(folder / FACTS)
    return found is not None and "results" in found and (folder / WEIGHTS).is_file()


def read(path: Path) -> dict | None:
    """Return the facts in a ``step.json``; None if there is none. Raises ConfigError where they are damaged."""
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
    """Write down the training that retrains the steps below ``root``. Raises ConfigError if it was another one."""
    path = root / RECIPE
    found = read(path)
    if found is None:
        write_json(path, {"settings": dict(settings)})
    else:
        refuse_others(found["settings"], dict(settings), root)


def refuse_others(found: Mapping, settings: Mapping, folder: Path) -> None:
    """Raise ConfigError, naming the first differences, where ``folder`` was made with other settings."""
    # As JSON has them: a tuple comes back as a list.
    settings = json.loads(json.dumps(dict(settings)))
    differ = [key for key in {**settings, **found} if found.get(key) != settings.get(key)]
    if differ:
        shown = "; ".join(f"{key} was {found.get(key)!r}, is {settings.get(key)!r}" for key in differ[:SHOWN])
        more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        raise ConfigError(
            f"{folder} holds a compression with other settings ({shown}{more}); give another output_dir, or remove it"
        )
