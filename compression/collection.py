"""The packed networks of a two-stage bundle: all nine, their weights rounded to levels, without retraining.

    python -m oarseg.compression.collection                         of the installed two-stage bundle
    python -m oarseg.compression.collection --localizer centres:31 --organs layer:63 --bundle FOLDER
    python -m oarseg.compression.collection --smaller FILE     weights of another localizer of fewer channels

They lie in ``models/compressed`` of the bundle, from which ``ranges.json`` goes first, as it is of other files.
``python -m oarseg.compression.calibrate DATASET`` comes next: only then are they used, PyTorch until then. A step
of a compression chain can take a network's place: copy its ``model.packed`` there.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path

from torch import nn

from oarseg.compression.fake_quantize import quantize, quantized
from oarseg.compression.levels import SCHEMES, table
from oarseg.compression.masks import release
from oarseg.compression.packing import write_packed
from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError, OarsegError
from oarseg.files import writing
from oarseg.inference.engines.packed.layout import SUFFIX
from oarseg.inference.engines.ranges import FILE
from oarseg.inference.engines.stored import FOLDER, LOCALIZER
from oarseg.inference.pipeline import Pipeline
from oarseg.networks import UNet3d
from oarseg.sites import Site
from oarseg.training.weights import fit, read_state

# Chosen on training cases: 31 levels cost stage 2 0.003 to 0.009 of Dice, and stage 1 much of its eyes; 63, 55: 0.001.
# The organs had 63, too, until the left optic nerve of the one validation case that has it was seen to have 0.02 less.
LOCALIZER_LEVELS, ORGAN_LEVELS = "channel:55", "channel:127"


def write_collection(
    bundle: str | None = None,
    localizer: str = LOCALIZER_LEVELS,
    organs: str = ORGAN_LEVELS,
    smaller: str | Path | None = None,
) -> dict[str, int]:
    """Pack every network of a two-stage bundle into its ``models/compressed``; returns bytes by the network's name.

    Args: ``localizer``, ``organs``: SCHEME:LEVELS of :func:`oarseg.compression.table`. ``smaller``: weights of a
    localizer of fewer channels, pruned or trained narrow, to take the place of the bundle's. Raises OarsegError.
    """
    wanted = {name: levels_of(text) for name, text in (("localizer", localizer), ("organs", organs))}
    pipeline = Pipeline(bundle, "cpu", engine=None)
    networks: dict[str, nn.Module] = {LOCALIZER: pipeline.network.localizer, **dict(pipeline.network.organs.items())}
    if smaller is not None:
        networks[LOCALIZER] = smaller_localizer(smaller, pipeline.site)
    folder = pipeline.bundle_root / FOLDER
    sizes = {}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Before the first file changes: should this end half-way, no network of another set is run.
        (folder / FILE).unlink(missing_ok=True)
        for name, network in networks.items():
            scheme, count = wanted["localizer" if name == LOCALIZER else "organs"]
            sizes[name] = pack(network, scheme, count, folder / f"{name}{SUFFIX}")
    return sizes


def smaller_localizer(path: str | Path, site: Site) -> UNet3d:
    """The localizer of a site with the weights, and the widths, of a weight file.

    Raises WeightsError where it cannot be read, ConfigError where it is no U-Net's or has other classes.
    """
    state = read_state(path)
    classes = len(site.organs) + 1
    if len(state.get("head.weight", ())) != classes:
        raise ConfigError(f"{path} is no localizer of this site, which tells {classes} classes apart")
    part = site.localizer
    network = UNet3d(classes, widths=widths_of(state), mean=part.mean, std=part.std)
    fit(network, state, path)
    return network


def pack(network: nn.Module, scheme: str, count: int, path: Path) -> int:
    """Write ``network``, itself unchanged, with its kernels rounded to ``count`` levels; returns the file's bytes."""
    network = copy.deepcopy(network).cpu()
    quantize(network, count, scheme)
    kernels = quantized(network)
    return write_packed(path, release(network).state_dict(), kernels)


def levels_of(text: str) -> tuple[str, int]:
    """Scheme and number of SCHEME:LEVELS. Raises ConfigError where there is no such table."""
    scheme, _, count = text.partition(":")
    if not count.isdecimal() or len(count) > 4:
        raise ConfigError(f"levels are SCHEME:LEVELS, such as channel:63, not {text!r}; schemes: {', '.join(SCHEMES)}")
    table(int(count), scheme)
    return scheme, int(count)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--localizer", default=LOCALIZER_LEVELS, metavar="SCHEME:LEVELS", help="%(default)s by default")
    parser.add_argument("--organs", default=ORGAN_LEVELS, metavar="SCHEME:LEVELS", help="%(default)s by default")
    parser.add_argument("--smaller", metavar="FILE", help="weights of a localizer of fewer channels, in its place")
    parser.add_argument("--bundle", help="another two-stage bundle than the installed one")
    args = parser.parse_args(argv)
    try:
        sizes = write_collection(args.bundle, args.localizer, args.organs, args.smaller)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, size in sizes.items():
        print(f"{name}: {size / 1e6:.2f} MB")
    print(f"together {sum(sizes.values()) / 1e6:.2f} MB; next: python -m oarseg.compression.calibrate DATASET")
    return 0


if __name__ == "__main__":
    sys.exit(main())
