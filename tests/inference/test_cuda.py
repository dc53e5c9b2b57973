"""The same answers from CUDA as from the CPU; these tests run where there is a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oarseg.inference.engines import TorchEngine, numpy_network
from oarseg.networks import UNet3d

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_a_network_answers_as_on_the_cpu(trained: UNet3d, two_organs) -> None:
    image, label = two_organs(500)
    exact = numpy_network(TorchEngine("cpu", "fp32").ready(trained))(image.numpy())
    for precision, tolerance in (("fp32", 0.05), ("bf16", 0.5)):
        engine = TorchEngine("cuda", precision)
        answer = numpy_network(engine.ready(trained).to("cuda"), torch.device("cuda"))(image.numpy())
        assert np.abs(answer - exact).max() < tolerance
        found, wanted = answer.argmax(1), exact.argmax(1)
        for organ in (1, 2):
            both = ((found == organ) & (wanted == organ)).sum()
            assert 2 * both / ((found == organ).sum() + (wanted == organ).sum()) >= 0.98
        assert (found == label.numpy()).mean() > 0.97
