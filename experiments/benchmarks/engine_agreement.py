"""How far the 8-bit engine's contours are those of the same compressed weights in PyTorch, float32.

    python -m experiments.benchmarks.engine_agreement CT [CT ...] [--engine openvino:int8] [--bundle DIR]

Dice of each organ, of the voxels of all CTs together (an optic nerve has a handful of voxels in a coarse CT, so that
single cases say little), and of the lowest case with at least 100 voxels. Both sides run the same compressed networks,
stage 1 included; ``oarseg benchmark`` compares with the uncompressed ones.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from oarseg.compression.structure import widths_of
from oarseg.errors import OarsegError
from oarseg.images.read import read_image
from oarseg.inference import Pipeline
from oarseg.inference.engines.stored import FOLDER, LOCALIZER, read_table
from oarseg.inference.localize import Network
from oarseg.inference.modules import array_networks
from oarseg.networks import UNet3d

LEAST_VOXELS = 100


def same_weights(bundle_root: Path) -> dict[str, Network]:
    """The bundle's compressed networks as PyTorch modules in float32, as functions of arrays."""
    modules = {}
    for name, row in read_table(bundle_root / FOLDER).rows.items():
        state = {key: torch.tensor(value) for key, value in row.state().items()}
        network = UNet3d(len(state["head.weight"]), widths=widths_of(state), mean=row.mean, std=row.std)
        missing = network.load_state_dict(state, strict=False)
        if missing.unexpected_keys or any("num_batches" not in key for key in missing.missing_keys):
            raise RuntimeError(f"{row.path}: {missing}")
        modules[name] = network.eval()
    return array_networks(modules.pop(LOCALIZER), modules, "cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cts", nargs="+", type=Path, metavar="CT", help="DICOM folder, NIfTI or NRRD file")
    parser.add_argument("--engine", default="openvino:int8", help="see oarseg segment --help (default: openvino:int8)")
    parser.add_argument("--bundle", help="another two-stage bundle than the installed one")
    args = parser.parse_args()
    tested, reference = (Pipeline(args.bundle, "cpu", engine=args.engine) for _ in range(2))
    reference.networks = same_weights(reference.bundle_root)
    counts = {key: [] for key in tested.site.values}
    for number, path in enumerate(args.cts, 1):
        print(f"{number} of {len(args.cts)}", file=sys.stderr, flush=True)
        image = read_image(path)
        ours, theirs = (pipeline.segment(image).label for pipeline in (tested, reference))
        for key, value in tested.site.values.items():
            a, b = ours == value, theirs == value
            counts[key].append((int((a & b).sum()), int(a.sum()) + int(b.sum())))
    print("| organ | Dice, all voxels | lowest case |\n|---|---|---|")
    for key, rows in counts.items():
        common, total = np.sum(rows, axis=0)
        cases = [2 * both / either for both, either in rows if either >= 2 * LEAST_VOXELS]
        print(f"| {key} | {2 * common / max(total, 1):.4f} | {f'{min(cases):.4f}' if cases else '-'} |")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OarsegError as error:
        sys.exit(f"error: {error}")
