"""The measured process: the job of ``oarseg segment``, with one model and one engine.

    python -P -m oarseg.benchmark.child JOB ANSWER

``JOB``: {"ct", "out", "bundle", "engine", "device"}, the engine None for the reference. ``ANSWER``: seconds by step,
sizes of the networks' passes, engine and precision, peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.checksum import weights_size
from oarseg.errors import OarsegError
from oarseg.inference.engines import StoredNetworks
from oarseg.inference.engines.stored import FOLDER as COMPRESSED
from oarseg.inference.engines.stored import LOCALIZER
from oarseg.inference.job import segment
from oarseg.inference.pipeline import Pipeline
from oarseg.process import peak_memory_mib


class RecordedNetworks(Mapping):
    """A pipeline's networks, which record the sizes (D, H, W) of their inputs, by network.

    ``cpu``: processor seconds of all passes, a network's first one with its compilation. ``wall``: seconds by network.
    """

    def __init__(self, networks: Mapping[str, Any]) -> None:
        self.networks, self.passes, self.cpu = networks, {name: [] for name in networks}, 0.0
        self.wall = dict.fromkeys(networks, 0.0)

    def __getitem__(self, name: str) -> Any:
        network = self.networks[name]

        def run(image: np.ndarray) -> np.ndarray:
            self.passes[name].append(list(image.shape[2:]))
            cpu, wall = time.process_time(), time.perf_counter()
            try:
                return network(image)
            finally:
                self.cpu += time.process_time() - cpu
                self.wall[name] += time.perf_counter() - wall

        return run

    def __iter__(self) -> Iterator[str]:
        return iter(self.networks)

    def __len__(self) -> int:
        return len(self.networks)

    def release(self, name: str) -> None:
        """Release the memory of a network's passes, where the engine can."""
        getattr(self.networks, "release", lambda _: None)(name)


def measured(job: Mapping[str, Any]) -> dict[str, Any]:
    """Segment ``job["ct"]`` into ``job["out"]`` and return the figures of it. Raises an OarsegError."""
    loaded: list[Pipeline] = []

    def load() -> Pipeline:
        engine = job["engine"]
        if engine is None:
            # The reference's engine, which no user is offered.
            from oarseg.benchmark.plain import PlainTorch

            engine = PlainTorch()
        pipeline = Pipeline(job["bundle"], job["device"], engine=engine)
        pipeline.networks = RecordedNetworks(pipeline.networks)
        loaded.append(pipeline)
        return pipeline

    done = segment(job["ct"], job["out"], formats=["nifti"], pipeline=load)
    pipeline = loaded[0]
    compressed = isinstance(pipeline.engine, StoredNetworks)
    return {
        "seconds": done.report["seconds"]
        | {"passes_cpu": pipeline.networks.cpu, "localizer_passes": pipeline.networks.wall[LOCALIZER]},
        "passes": pipeline.networks.passes,
        "computed": f"{pipeline.engine.name} {pipeline.engine.precision}",
        "compressed": compressed,
        "model_bytes": model_bytes(pipeline, compressed),
        "organs": pipeline.site.values,
        "input": {key: done.report["input"][key] for key in ("kind", "size_voxels", "spacing_mm")},
        "device": done.report["device"],
        "peak_memory_mib": peak_memory_mib(),
    }


def model_bytes(pipeline: Pipeline, compressed: bool) -> int:
    """Return the bytes of the weight files that this run needs."""
    if not compressed:
        return weights_size(pipeline.bundle_root)
    return sum(path.stat().st_size for path in (pipeline.bundle_root / COMPRESSED).iterdir() if path.is_file())


def main(argv: list[str] | None = None) -> int:
    job, answer = (Path(path) for path in argv or sys.argv[1:])
    try:
        result = measured(json.loads(job.read_text(encoding="utf-8")))
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    answer.write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
