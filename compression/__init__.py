"""Compression of a network: channel and threshold pruning, levels for weights, packed files, and the chain of them.

Algorithms 4-1 to 4-3 of the method. Everything works in place on any network of :mod:`oarseg.networks`, or on a part
of a :class:`oarseg.networks.TwoStageNet`; only what is cut to smaller widths has to be a UNet3d.
"""

from oarseg.lazy import lazy_names

# Imported on first use: who reads packed files as arrays has no need of PyTorch.
_MODULES = {
    "Chain": ".chain",
    "FakeQuantize": ".fake_quantize",
    "Levels": ".levels",
    "PRINTED": ".levels",
    "Quantized": ".fake_quantize",
    "Recipe": ".recipe",
    "SCHEMES": ".levels",
    "channel_masks": ".channels",
    "hold": ".masks",
    "kernels": ".layers",
    "load_packed": ".loading",
    "masks_of": ".masks",
    "nonzero_masks": ".threshold",
    "packed": ".packing",
    "quantize": ".fake_quantize",
    "quantized": ".fake_quantize",
    "read_arrays": "oarseg.inference.engines.packed.reading",
    "read_packed": ".loading",
    "rebuilt": ".structure",
    "release": ".masks",
    "remove_channels": ".structure",
    "sparsity": ".layers",
    "table": ".levels",
    "threshold_masks": ".threshold",
    "unpacked": ".loading",
    "widths_of": ".structure",
    "write_packed": ".packing",
}
__all__ = list(_MODULES)
__getattr__ = lazy_names(__name__, _MODULES)
