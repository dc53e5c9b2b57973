"""``ranges.json``: the range of every activation of a bundle's compressed networks, from calibration.

With it and a network's weights the 8-bit network can be built on any machine. It holds numbers only, nothing of an
image. Each row belongs to one weight file, and the whole to one ``model.pt``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.checksum import sha256
from oarseg.errors import WeightsError
from oarseg.files import write_json
from oarseg.inference.engines.graph import last, names

FILE = "ranges.json"
SUFFIX = ".packed"
SCHEMA = 1
# Where a state dict has the statistics of the training intensities; 0.1.0's have none, and the site table's hold.
MEAN, STD = "standardize.mean", "standardize.std"
# Networks compute in float32.
MOST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Row:
    """One network: ``sha256`` of its weight file; ``mean`` and ``std`` that it normalises by; ``ranges`` by activation.

    ``path``: of the weight file.
    """

    path: Path
    sha256: str
    mean: float
    std: float
    ranges: dict[str, tuple[float, float]]

    @property
    def factor(self) -> int:
        """The sizes of images must be multiples of this."""
        return 2 ** sum(name.startswith("up.") for name in self.ranges)

    @property
    def key(self) -> str:
        """Text that tells this network, its ranges included, from all others."""
        return json.dumps([self.sha256, self.mean, self.std, sorted(self.ranges.items())])

    def check(self) -> None:
        """Raise WeightsError if the weight file is missing, or not the one that was calibrated."""
        try:
            found = sha256(self.path)
        except OSError as error:
            raise WeightsError(f"{self.path} cannot be read ({error.strerror}); install the bundle again") from error
        if found != self.sha256:
            raise WeightsError(
                f"{self.path} is not the file that {FILE} beside it names; install the bundle again, or calibrate"
            )

    def state(self) -> dict[str, np.ndarray]:
        """Return the weights, by the names of the state dict.

        Raises WeightsError, also where they bring another mean or standard deviation than this row has.
        """
        from oarseg.inference.engines.packed.reading import read_arrays

        state = read_arrays(self.path)
        mean, std = (float(state.get(name, own)) for name, own in ((MEAN, self.mean), (STD, self.std)))
        if not self.normalises_by(mean, std):
            raise WeightsError(
                f"{self.path} has mean {mean:g} and std {std:g}, {FILE} beside it {self.mean:g} and {self.std:g}; "
                "calibrate again"
            )
        return state

    def normalises_by(self, mean: float, std: float) -> bool:
        """Whether these are the row's mean and standard deviation."""
        return math.isclose(self.mean, mean, rel_tol=1e-6) and math.isclose(self.std, std, rel_tol=1e-6)


@dataclass(frozen=True)
class Table:
    """What a ``ranges.json`` holds; ``model_sha256``: of the ``model.pt`` that the compressed networks stand for."""

    path: Path
    model_sha256: str
    rows: dict[str, Row]

    def row(self, name: str) -> Row:
        """Return the row of the network ``name``. Raises WeightsError if there is none."""
        if name not in self.rows:
            raise WeightsError(f"{self.path} has no network {name}; calibrate again")
        return self.rows[name]


def read_table(folder: str | Path) -> Table | None:
    """Return the table in ``folder``; None if there is none. Raises WeightsError if it is malformed."""
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise WeightsError(f"{path} has schema {content['schema']!r}, not {SCHEMA}; calibrate again")
        rows = {name: _row(path.parent, name, row) for name, row in content["networks"].items()}
        return Table(path, str(content["model_sha256"]), rows)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:160]
        raise WeightsError(f"{path} is malformed ({reason}); calibrate again") from error


def _row(folder: Path, name: str, row: Mapping[str, Any]) -> Row:
    if not name.replace("_", "").isalnum():
        raise ValueError(f"network name {name!r}")
    mean, std = float(row["mean"]), float(row["std"])
    ranges = {str(key): (float(low), float(high)) for key, (low, high) in row["ranges"].items()}
    numbers = [mean, std, *(value for pair in ranges.values() for value in pair)]
    # Not a number is not below anything either.
    if not all(abs(n) <= MOST for n in numbers) or std < LEAST or any(low > high for low, high in ranges.values()):
        raise ValueError(f"{name} has a number that cannot be, or a range whose low end is the higher one")
    poolings = sum(key.startswith("up.") for key in ranges)
    if set(ranges) - {last(poolings)} != set(names(poolings)):
        raise ValueError(f"{name} has not the activations of a UNet3d")
    return Row(folder / f"{name}{SUFFIX}", str(row["sha256"]), mean, std, ranges)


def write_table(path: Path, model_sha256: str, rows: Mapping[str, Row], made: Mapping[str, object]) -> None:
    """Write ``rows`` by network, whole or not at all. ``made``: how, for the reader."""
    networks = {
        name: {"sha256": row.sha256, "mean": row.mean, "std": row.std, "ranges": row.ranges}
        for name, row in rows.items()
    }
    write_json(path, {"schema": SCHEMA, "model_sha256": model_sha256, **made, "networks": networks})
