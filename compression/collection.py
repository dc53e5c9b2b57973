"""The packed networks of a two-stage bundle, their weights rounded to levels without retraining.

They lie in the bundle's ``models/compressed``. ``ranges.json``, which belongs to earlier files, is removed there first;
until the new files are calibrated (:mod:`oarseg.compression.calibrate`), the bundle runs its original networks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from torch import nn

from oarseg.bundles import FOLDER as BUNDLES
from oarseg.compression.fake_quantize import quantize, quantized
from oarseg.compression.levels import SCHEMES, table
from oarseg.compression.masks import release
from oarseg.compression.packing import write_packed
from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError
from oarseg.files import writing
from oarseg.inference.bundle import BUNDLE, read_bundle
from oarseg.inference.engines.packed.layout import SUFFIX
from oarseg.inference.engines.stored import FILE, FOLDER, LOCALIZER
from oarseg.inference.modules import load_modules
from oarseg.networks import UNet3d
from oarseg.sites import Site
from oarseg.training.weights import fit, read_state

# Chosen on training cases: 31 levels cost stage 2 0.003 to 0.009 of Dice, and stage 1 much of its eyes; 63, 55: 0.001.
# The organs have 127, because with 63 the left optic nerve of the one validation case that has it lost 0.02.
LOCALIZER_LEVELS, ORGAN_LEVELS = "channel:55", "channel:127"


def changeable_bundle(bundle: str | Path | None) -> Path:
    """Return the folder of the two-stage bundle to compress: ``bundle``, or a checkout's own if None.

    Raises ConfigError for the bundle of an installed package, unless ``bundle`` names it.
    """
    if bundle is None and not (BUNDLES.parent / "setup.cfg").is_file():
        raise ConfigError(
            f"the bundle of the installed oarseg ({BUNDLES / BUNDLE}) stays as it is; copy the bundles and give the "
            "copy with --bundle"
        )
    return BUNDLES / BUNDLE if bundle is None else Path(bundle)


def write_collection(
    bundle: str | Path,
    localizer: str = LOCALIZER_LEVELS,
    organs: str = ORGAN_LEVELS,
    smaller: str | Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, int]:
    """Pack every network of a two-stage bundle into its ``models/compressed``; return bytes by the network's name.

    Args: ``localizer``, ``organs``: SCHEME:LEVELS of :func:`oarseg.compression.table`. ``smaller``: weights of a
    localizer of fewer channels, pruned or trained narrow, to take the place of the bundle's. ``progress``: called with
    each step. Raises OarsegError.
    """
    tables = {True: levels_of(localizer), False: levels_of(organs)}
    content = read_bundle(bundle)
    loaded = load_modules(content, "cpu")
    networks: dict[str, nn.Module] = {LOCALIZER: loaded.localizer, **dict(loaded.organs.items())}
    if smaller is not None:
        networks[LOCALIZER] = smaller_localizer(smaller, content.site)
    folder = content.root / FOLDER
    sizes = {}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Before the first file changes: should this end half-way, no network of another set is run.
        (folder / FILE).unlink(missing_ok=True)
        for name, network in networks.items():
            progress(f"packing: {name}")
            scheme, count = tables[name == LOCALIZER]
            sizes[name] = pack(network, scheme, count, folder / f"{name}{SUFFIX}")
    return sizes


def smaller_localizer(path: str | Path, site: Site) -> UNet3d:
    """Return the localizer of a site with the weights, and the widths, of a weight file.

    Raises WeightsError where it cannot be read, ConfigError where it is no U-Net's or has other classes.
    """
    state = read_state(path)
    classes = len(site.organs) + 1
    found = len(state.get("head.weight", ()))
    if found != classes:
        raise ConfigError(f"{path} is not a localizer of this site: it has {found} classes, expected {classes}")
    part = site.localizer
    try:
        network = UNet3d(classes, widths=widths_of(state), mean=part.mean, std=part.std)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    fit(network, state, path)
    return network


def pack(network: nn.Module, scheme: str, count: int, path: Path) -> int:
    """Write ``network``, itself unchanged, with its kernels rounded to ``count`` levels; return the file's bytes."""
    network = copy.deepcopy(network).cpu()
    quantize(network, count, scheme)
    kernels = quantized(network)
    return write_packed(path, release(network).state_dict(), kernels)


def levels_of(text: str) -> tuple[str, int]:
    """Return scheme and number of SCHEME:LEVELS. Raises ConfigError where there is no such table."""
    scheme, _, count = text.partition(":")
    if not count.isdecimal() or len(count) > 4:
        raise ConfigError(f"levels are SCHEME:LEVELS, such as channel:63, not {text!r}; schemes: {', '.join(SCHEMES)}")
    table(int(count), scheme)
    return scheme, int(count)
