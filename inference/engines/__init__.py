"""What computes a network's logits: PyTorch, or OpenVINO on CPUs.

Contours differ a little between engines and precisions, by voxels on the borders of organs: report and command name
the engine.

An engine turns a network with weights into a module that answers as the network does: image (1, 1, D, H, W) float32
to logits (1, C, D, H, W) float32. It takes the network's place in a :class:`oarseg.networks.TwoStageNet`, so that the
inferers need not know which it is.

>>> engine = make_engine("openvino:bf16", "cpu")                   # doctest: +SKIP
>>> logits = engine.ready(network, "localizer")(image)             # doctest: +SKIP

A bundle's compressed networks need no module: they are functions of numpy arrays. Neither this package nor they import
PyTorch or MONAI, which takes longer than to contour.

>>> networks = stored_networks("auto", bundle_root, weights_sha256, site)  # doctest: +SKIP
>>> logits = networks["localizer"](image)                          # doctest: +SKIP
"""

from oarseg.inference.engines.choose import Engine, advice, check_device, check_engine, make_engine, ready_net
from oarseg.inference.engines.stored import StoredNetworks, stored_networks
from oarseg.lazy import lazy_names

# What imports PyTorch is imported on first use.
_MODULES = {"TorchEngine": ".torch_engine", "folded": ".torch_engine", "numpy_network": ".torch_engine"}
__all__ = [
    "Engine", "StoredNetworks", "advice", "check_device", "check_engine", "make_engine", "ready_net", "stored_networks",
    *_MODULES,
]  # fmt: skip
__getattr__ = lazy_names(__name__, _MODULES)
