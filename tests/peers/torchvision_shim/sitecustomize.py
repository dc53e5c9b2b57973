"""Lets a torchvision be imported whose compiled part does not fit the installed PyTorch; put on PYTHONPATH for it.

MONAI Label imports torchvision, for SAM 2 only, which is switched off here. Where PyTorch is a CPU build and
torchvision comes from PyPI, built for CUDA, that import ends with "operator torchvision::nms does not exist": it
describes two operators that its compiled part was to bring. This declares them, without an implementation. Whoever
installs both from one index (https://download.pytorch.org/whl/cpu, say) needs none of it.
"""

import torch

_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _OPERATORS.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
