"""The size of a bundle's shipped weights, packed at every number of levels without retraining.

``python -m experiments.compression.sizes`` stores the sizes in ``results/sizes.json``. A chain measures their Dice.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.compression.costs import network_in
from experiments.compression.stored import RESULTS, bundles
from oarseg.bundles import root
from oarseg.compression.fake_quantize import quantize, quantized
from oarseg.compression.layers import sparsity
from oarseg.compression.levels import PRINTED
from oarseg.compression.masks import release
from oarseg.compression.packing import packed
from oarseg.errors import OarsegError
from oarseg.files import write_json
from oarseg.training.weights import FILE, sha256

SIZES = RESULTS / "sizes.json"
# The others have the same codes until they are retrained: "centres" those of "printed", "learned" those of "layer".
SCHEMES = ("printed", "layer", "channel")


def size_table(weights: Path, schemes: tuple[str, ...] = SCHEMES, counts: tuple[int, ...] = PRINTED) -> dict:
    """Packed sizes of the UNet3d in a weight file.

    Returns ``weights_sha256``, ``bytes`` (float32), and ``rows`` of ``scheme``, ``levels``, ``sparsity``, bytes with
    levels in bits but no codec (``bits``) and as they are packed (``packed``). Raises WeightsError.
    """
    rows = []
    for scheme in schemes:
        for count in counts:
            network = network_in(weights)
            parameters = sum(p.numel() for p in network.parameters())
            quantize(network, count, scheme)
            kernels = quantized(network)
            share = round(sparsity(network), 4)
            state = release(network).state_dict()
            row = {"scheme": scheme, "levels": count, "sparsity": share}
            rows.append(row | {"bits": len(packed(state, kernels, ("stored",))), "packed": len(packed(state, kernels))})
    return {"weights_sha256": sha256(weights), "bytes": 4 * parameters, "rows": rows}


def main(argv: list[str] | None = None) -> int:
    """Store the packed sizes of the localizer's shipped weights, or of others."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--weights", type=Path, default=Path(root(bundles()[0])) / FILE, help="of a UNet3d")
    parser.add_argument("--out", type=Path, default=SIZES)
    args = parser.parse_args(argv)
    try:
        content = size_table(args.weights)
        write_json(args.out, content)
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
