"""Compression of a network: channel and threshold pruning, levels for weights, packed files, and the chain of them.

Algorithms 4-1 to 4-3 of the method. Everything works in place on any network of :mod:`oarseg.networks`, or on a part
of a :class:`oarseg.networks.TwoStageNet`; only what is cut to smaller widths has to be a UNet3d.
"""

from importlib import import_module

# Where each name lives. Imported on first use: who reads packed files as arrays has no need of PyTorch.
_HOMES = {
    "chain": ("Chain",),
    "channels": ("channel_masks",),
    "fake_quantize": ("FakeQuantize", "Quantized", "quantize", "quantized"),
    "layers": ("kernels", "sparsity"),
    "levels": ("PRINTED", "SCHEMES", "Levels", "table"),
    "loading": ("load_packed", "read_packed", "unpacked"),
    "masks": ("hold", "masks_of", "release"),
    "packing": ("packed", "write_packed"),
    "recipe": ("Recipe",),
    "structure": ("rebuilt", "remove_channels", "widths_of"),
    "threshold": ("nonzero_masks", "threshold_masks"),
    "unpacking": ("read_arrays",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(import_module(f"oarseg.compression.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'oarseg.compression' has no attribute {name!r}")
