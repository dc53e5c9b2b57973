"""What runs in each worker's process: the networks, loaded once, and one CT after the other."""

from __future__ import annotations

import time
from typing import Any

from oarseg.cohort.journal import DONE, FAILED
from oarseg.errors import OarsegError
from oarseg.text import printable


class Worker:
    """Contours CTs with one pipeline.

    ``settings``: organs, formats, device, engine, bundle, as of :func:`oarseg.segment`. Raises what that raises.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from oarseg.inference.pipeline import Pipeline

        self.formats = settings["formats"]
        chosen = {key: settings[key] for key in ("device", "engine", "organs")}
        self.pipeline = Pipeline(settings["bundle"], **chosen)

    def segment(self, source: str, series: str | None, out: str) -> dict[str, Any]:
        """The row of one case. Never raises for a case: what is wrong with it is the row's ``reason``."""
        from oarseg.inference.job import segment

        began = time.perf_counter()
        result, reason = None, ""
        try:
            result = segment(source, out, series=series, formats=self.formats, overwrite=True, pipeline=self.pipeline)
        except OarsegError as error:
            reason = printable(str(error))
        except Exception as error:  # noqa: BLE001 - one odd case must not end a cohort
            reason = f"unexpected error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        seconds = round(time.perf_counter() - began, 3)
        if result is None:
            return {"status": FAILED, "reason": reason, "seconds": seconds}
        return {
            "status": DONE,
            "seconds": seconds,
            "volumes_cm3": {key: round(volume, 3) for key, volume in result.volumes_cm3.items()},
            "missing": [key for key, row in result.report["organs"].items() if not row["found"]],
            "warnings": result.warnings,
            "computed": f"{result.report['engine']['name']} {result.report['engine']['precision']}",
            "peak_mib": _peak_mib(),
        }


def _peak_mib() -> float:
    from oarseg.inference.benchmark.process import peak_rss_mib

    return round(peak_rss_mib(), 1)
