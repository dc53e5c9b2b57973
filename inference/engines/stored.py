"""The compressed networks that lie in a two-stage bundle, run by OpenVINO. Neither PyTorch nor MONAI is imported.

``models/compressed`` holds a packed weight file for each network, ``NAME.packed`` (see :mod:`oarseg.compression`), and
``ranges.json`` (see :mod:`oarseg.inference.engines.ranges`), by which they run in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oarseg.cpu import has_int8, threads
from oarseg.errors import WeightsError
from oarseg.inference.engines.choose import check_engine, openvino_is_quicker
from oarseg.inference.engines.graph import build
from oarseg.inference.engines.openvino_core import CompiledNetwork, OpenVinoCore, installed
from oarseg.inference.engines.ranges import Table, read_table
from oarseg.sites import Site

# Below a bundle's root.
FOLDER = "models/compressed"
LOCALIZER = "localizer"


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
    if name == "torch" or not installed() or (name == "auto" and not openvino_is_quicker()):
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
