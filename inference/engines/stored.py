"""The compressed networks that lie in a two-stage bundle, run by OpenVINO. Neither PyTorch nor MONAI is imported.

``models/compressed`` holds a packed weight file for each network, ``NAME.packed`` (see :mod:`oarseg.compression`), and
``ranges.json``: the range of every activation, from calibration. With it and a network's weights the 8-bit network can
be built on any machine. It holds numbers only, nothing of an image. Each row belongs to one weight file, and the whole
to the bundle's weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.checksum import sha256
from oarseg.cpu import has_int8, threads
from oarseg.errors import WeightsError
from oarseg.files import write_json
from oarseg.inference.engines.choose import check_engine, openvino_is_quicker
from oarseg.inference.engines.graph import build, last, names
from oarseg.inference.engines.openvino_core import CompiledNetwork, OpenVinoCore
from oarseg.requires import installed
from oarseg.sites import Site

# Below a bundle's root.
FOLDER = "models/compressed"
LOCALIZER = "localizer"
FILE = "ranges.json"
SUFFIX = ".packed"
SCHEMA = 1
# Where a state dict has the statistics of the training intensities; 0.1.0's have none, and the site table's hold.
MEAN, STD = "standardize.mean", "standardize.std"
# Networks compute in float32.
MOST_FLOAT = float(np.finfo(np.float32).max)
LEAST_FLOAT = float(np.finfo(np.float32).tiny)


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
    possible = all(abs(n) <= MOST_FLOAT for n in numbers) and std >= LEAST_FLOAT
    if not possible or any(low > high for low, high in ranges.values()):
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


class StoredNetworks(Mapping[str, CompiledNetwork]):
    """A bundle's compressed networks by name, "localizer" and the organs' keys; each is read on first use.

    Args:
        table: of the bundle's ``ranges.json``.
        site: has the networks' statistics and the organs' grids, the only sizes that organs' networks are run in.
        precision: "fp32", "bf16" or "int8"; None for the quickest here.
        core: what compiles.
    Raises ConfigError for a precision that this machine does not have. Taking a network raises WeightsError if its
    weight file is missing, damaged, not the one of the table, or gives another number of classes.
    """

    name = "openvino"

    def __init__(
        self, table: Table, site: Site, precision: str | None = None, core: OpenVinoCore | None = None
    ) -> None:
        self.core = core or OpenVinoCore(threads())
        self.precision = self.core.checked(precision or ("int8" if has_int8() else self.core.float))
        self.table, self.site = table, site
        self._networks: dict[str, CompiledNetwork] = {}

    def __getitem__(self, name: str) -> CompiledNetwork:
        if name not in self._networks:
            self._networks[name] = self._network(name)
        return self._networks[name]

    def __iter__(self) -> Iterator[str]:
        return iter([LOCALIZER, *self.site.values])

    def __len__(self) -> int:
        return 1 + len(self.site.organs)

    def release(self, name: str) -> None:
        """Give back the memory that passes of the network ``name`` left."""
        if name in self._networks:
            self._networks[name].release()

    def _network(self, name: str) -> CompiledNetwork:
        if name not in iter(self):
            raise KeyError(name)
        row = self.table.row(name)
        row.check()
        ranges = row.ranges if self.precision == "int8" else None
        size = None if name == LOCALIZER else [n + -n % row.factor for n in self.site.organ(name).grid]

        classes = 1 + len(self.site.organs) if name == LOCALIZER else 2

        def graph() -> Any:
            state = row.state()
            found = np.shape(state.get("head.weight", [None] * classes))[:1]
            if found != (classes,):
                raise WeightsError(
                    f"{row.path} gives {found[0] if found else 'no'} classes, {name} of this site {classes}; "
                    "install the bundle again, or calibrate"
                )
            return build(state, row.mean, row.std, ranges)

        # With the classes, so that what was cached has been found to have them.
        key = f"{row.key} {'with' if ranges else 'without'} ranges, {classes} classes"
        return CompiledNetwork(lambda: self.core.compile(graph, key, self.precision, size), row.factor)


def stored_networks(choice: str, bundle_root: str | Path, weights_sha256: str, site: Site) -> StoredNetworks | None:
    """Return the compressed networks of a bundle, if ``choice`` (see ``make_engine``) and this machine are for them.

    Args: ``weights_sha256``: identity of the bundle's weights, which they must stand for. On the CPU.
    None if PyTorch is chosen or quicker, OpenVINO is not installed, or the bundle has no compressed networks of these
    weights; then the bundle's own weights must be loaded. Raises ConfigError for a wrong choice; WeightsError if the
    list of networks is damaged, or int8 was chosen and there is none.
    """
    name, precision = check_engine(choice)
    if name == "torch" or not installed("openvino") or (name == "auto" and not openvino_is_quicker()):
        return None
    folder = Path(bundle_root) / FOLDER
    table = read_table(folder)
    if table is not None and table.model_sha256 == weights_sha256:
        return StoredNetworks(table, site, precision or None)
    if precision == "int8":
        found = "those in {} are of other weights" if table else "none in {}"
        make = "make them: oarseg compress calibrate DATASET --bundle DIR"
        raise WeightsError(f"int8 needs the bundle's compressed networks, {found.format(folder)}; {make}")
    return None
