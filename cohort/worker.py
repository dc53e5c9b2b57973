"""What runs in each worker's process: the networks, loaded once, and one CT after the other."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oarseg import __version__
from oarseg.cohort.cases import CohortCase
from oarseg.cohort.journal import DONE, FAILED, PAGE, SETTINGS
from oarseg.errors import ConfigError, OarsegError
from oarseg.images.results_folder import RTSTRUCT, SEG
from oarseg.inference.bundle import read_bundle
from oarseg.process import peak_memory_mib
from oarseg.text import one_line

if TYPE_CHECKING:
    from oarseg.dicomweb import Server


class CohortWorker:
    """Contours CTs with one pipeline.

    ``settings``: organs, formats, device, engine, bundle, as of :func:`oarseg.segment`; ``out``, the batch's folder,
    and ``batch``, the content of its ``batch.json``. Raises what ``segment`` raises, and ConfigError on a machine with
    another oarseg than the command's or without its folders.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from oarseg.inference.pipeline import Pipeline

        _check_machine(settings["batch"], Path(settings["out"]), read_bundle(settings["bundle"]).weights["sha256"])
        self.formats = settings["formats"]
        chosen = {key: settings[key] for key in ("device", "engine", "organs")}
        self.pipeline = Pipeline(settings["bundle"], **chosen)

    def segment(self, case: CohortCase, out: str) -> dict[str, Any]:
        """Return the row of one case. Never raises for a case: the row's ``reason`` says what is wrong with it."""
        from oarseg.inference.job import segment

        began = time.perf_counter()
        result, reason = None, ""
        try:
            with case.opened(near=Path(out).parent) as (source, series):
                result = segment(
                    source, out, series=series, formats=self.formats, overwrite=True, pipeline=self.pipeline,
                    overview=f"../{PAGE}",
                )
        except Exception as error:  # noqa: BLE001 - one odd case must not end a cohort
            reason = _reason(error)
        run = {"seconds": round(time.perf_counter() - began, 3), "machine": platform.node()}
        if result is None:
            return {"status": FAILED, "reason": reason, **run}
        return {
            "status": DONE,
            **run,
            "volumes_cm3": {key: round(volume, 3) for key, volume in result.volumes_cm3.items()},
            "missing": [key for key, row in result.report["organs"].items() if not row["found"]],
            "warnings": result.warnings,
            "computed": f"{result.report['engine']['name']} {result.report['engine']['precision']}",
            "peak_mib": round(peak_memory_mib(), 1),
        }

    def store(self, server: Server, out: str) -> dict[str, Any]:
        """Offer the DICOM files of a contoured case to a server; return what changes in the case's row."""
        from oarseg.dicomweb import store

        files = [path for path in (Path(out) / RTSTRUCT, Path(out) / SEG) if path.is_file()]
        try:
            if files:
                store(server, files)
        except Exception as error:  # noqa: BLE001 - as above
            return {"status": FAILED, "reason": f"contoured, but not stored: {_reason(error)}"}
        return {"status": DONE, "stored": len(files)}


def _check_machine(batch: dict[str, Any], out: Path, weights: str) -> None:
    here = f"machine {platform.node()}"
    if __version__ != batch["oarseg"] or weights != batch["weights"]:
        differ = "other weights" if __version__ == batch["oarseg"] else f"oarseg {__version__}"
        raise ConfigError(f"{here} has {differ}, the command has oarseg {batch['oarseg']}; install one on all machines")
    unseen = [] if "://" in batch["input"] or _holds(batch["input"]) else [batch["input"]]
    try:
        found = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if any(found.get(key) != value for key, value in batch.items()):
        unseen.append(str(out))
    if unseen:
        raise ConfigError(f"{here} does not see {' nor '.join(unseen)} as here; share it under the same path")


def _holds(source: str) -> bool:
    """Return whether it is a file, or a folder that is not empty, as one is that is not mounted."""
    try:
        return os.path.isfile(source) or any(os.scandir(source))
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, OarsegError):
        return one_line(str(error))
    return f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
