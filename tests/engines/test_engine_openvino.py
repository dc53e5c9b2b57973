"""OpenVINO as an engine: the labels of PyTorch, and a cache that cannot be fooled."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.peers.anatomynet import AnatomyNet
from oarseg.errors import ConfigError
from oarseg.inference import AutocastInferer, WindowInferer
from oarseg.inference.engines import TorchEngine
from oarseg.inference.engines.openvino_core import BlobCache
from oarseg.networks import UNet3d
from oarseg.requires import installed

pytestmark = pytest.mark.slow

if not installed("openvino"):
    pytest.skip("openvino is not installed", allow_module_level=True)
from oarseg.inference.engines import openvino_core, openvino_engine  # noqa: E402
from oarseg.inference.engines.openvino_core import OpenVinoCore  # noqa: E402
from oarseg.inference.engines.openvino_engine import OpenVinoEngine  # noqa: E402

SIZE = (16, 24, 24)


@pytest.fixture
def core(tmp_path: Path) -> OpenVinoCore:
    """OpenVINO with a cache of its own."""
    return OpenVinoCore(1, BlobCache(tmp_path / "cache"))


@torch.no_grad()
def labels(network: nn.Module, image: Tensor) -> np.ndarray:
    return AutocastInferer()(image, network).argmax(dim=1)[0].numpy()


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("bf16", 0.99)])
@pytest.mark.parametrize("size", [SIZE, (16, 40, 24)])
def test_labels_are_those_of_torch(precision, least, size, trained, two_organs, core, phantom) -> None:
    try:
        engine = OpenVinoEngine(precision, core)
    except ConfigError as error:
        pytest.skip(str(error))
    image, truth = two_organs(99, size)
    expected = labels(TorchEngine("cpu", "fp32").ready(trained), image)
    found = labels(engine.ready(trained, "localizer"), image)
    for value in (1, 2):
        assert phantom.dice(expected == value, truth[0].numpy() == value) > 0.85, "the network has not learnt its task"
        assert phantom.dice(found == value, expected == value) >= least


@pytest.mark.parametrize("make", [lambda: AnatomyNet(1, 3), lambda: normed(UNet3d(2, 4))])
def test_networks_that_are_no_plain_unet_are_traced(make, core) -> None:
    torch.manual_seed(1)
    network = make().eval()
    image = torch.rand(1, 1, 16, 16, 24)
    with torch.no_grad():
        expected = network(image)
    torch.testing.assert_close(OpenVinoEngine("fp32", core).ready(network)(image), expected, atol=1e-3, rtol=1e-3)


def normed(network: nn.Module) -> nn.Module:
    """``network`` with a weight that is computed from others, as masks of pruning have it."""
    nn.utils.parametrizations.weight_norm(network.head)
    return network


def test_what_cannot_be_converted_is_told(core) -> None:
    class Refuses(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise RuntimeError("cannot be\ntraced")

    with pytest.raises(ConfigError, match="OpenVINO cannot convert the network .*--engine torch"):
        OpenVinoEngine("fp32", core).ready(Refuses())(torch.rand(1, 1, 8, 8, 8))


def test_logits_are_float32_and_stay_what_they_were(trained, two_organs, core) -> None:
    ready = OpenVinoEngine("fp32", core).ready(trained, "localizer")
    first = ready(two_organs(1)[0])
    kept = first.clone()
    gc.collect()
    ready(two_organs(2)[0])
    assert first.dtype == torch.float32 and torch.equal(first, kept)
    with torch.no_grad():
        torch.testing.assert_close(first, trained(two_organs(1)[0]), atol=1e-3, rtol=1e-3)


def test_several_threads_may_ask_at_once(trained, two_organs, core) -> None:
    ready = OpenVinoEngine("fp32", core).ready(trained, "localizer")
    images = [two_organs(n)[0] for n in range(6)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ready, images))
    with torch.no_grad():
        for image, answer in zip(images, answers, strict=True):
            torch.testing.assert_close(answer, trained(image), atol=1e-3, rtol=1e-3)


def test_memory_may_be_given_back_while_others_compute(trained, two_organs, core) -> None:
    ready = OpenVinoEngine("fp32", core).ready(trained, "localizer")
    image = two_organs(1, (32, 48, 48))[0]
    expected = ready(image)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ready, image) for _ in range(12)]
        while not all(answer.done() for answer in answers):
            ready.compiled.release()
    assert all(torch.equal(answer.result(), expected) for answer in answers)


def test_openvino_works_without_a_home(trained, two_organs, monkeypatch) -> None:
    monkeypatch.setattr(openvino_core, "cache_folder", lambda: None)
    image = two_organs(1)[0]
    found = OpenVinoEngine("fp32", OpenVinoCore(1)).ready(trained, "localizer")(image)
    with torch.no_grad():
        torch.testing.assert_close(found, trained(image), atol=1e-3, rtol=1e-3)


def test_windows_of_any_image(trained, two_organs, core) -> None:
    ready = OpenVinoEngine("fp32", core).ready(trained, "localizer")
    image = two_organs(5, (21, 45, 30))[0]
    inferer = WindowInferer((16, 32, 32))
    with torch.no_grad():
        expected = inferer(image, TorchEngine("cpu", "fp32").ready(trained))
    torch.testing.assert_close(inferer(image, ready), expected, atol=1e-3, rtol=1e-3)


def test_a_size_that_the_network_refuses_is_told(trained, two_organs, core) -> None:
    ready = OpenVinoEngine("fp32", core).ready(trained, "localizer")
    with pytest.raises(ValueError, match=r"\(7, 8, 8\) must be multiples of 4"):
        ready(torch.rand(1, 1, 7, 8, 8))
    with pytest.raises(ConfigError, match=r"\(1, 2, 8, 8, 8\)"):
        ready(torch.rand(1, 2, 8, 8, 8))


def test_the_second_time_nothing_is_converted(trained, two_organs, core, monkeypatch) -> None:
    image = two_organs(1)[0]
    first = OpenVinoEngine("fp32", core).ready(trained, "localizer")(image)
    monkeypatch.setattr(openvino_engine, "convert", lambda network: pytest.fail("converted again"))
    again = OpenVinoEngine("fp32", core).ready(trained, "other name")(image)
    assert torch.equal(first, again)


def test_other_weights_statistics_and_precisions_are_other_entries(trained, two_organs, core) -> None:
    image = two_organs(1)[0]
    twin = copy.deepcopy(trained)
    twin.mean.add_(0.1)
    answers = [OpenVinoEngine("fp32", core).ready(n, "localizer")(image) for n in (trained, twin)]
    assert len(list(core.cache.folder.iterdir())) == 2
    with torch.no_grad():
        torch.testing.assert_close(answers[1], twin(image), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(*answers, atol=1e-2)


@pytest.mark.parametrize("content", [b"", b"no network at all"])
def test_a_cache_entry_that_is_no_network_is_made_anew(content: bytes, trained, two_organs, core) -> None:
    image = two_organs(1)[0]
    first = OpenVinoEngine("fp32", core).ready(trained, "localizer")(image)
    (path,) = core.cache.folder.iterdir()
    size = path.stat().st_size
    forged = BlobCache(core.cache.folder)
    forged._path = lambda key: path
    forged.store(content, "key")
    assert torch.equal(OpenVinoEngine("fp32", core).ready(trained, "localizer")(image), first)
    assert path.stat().st_size == size


def test_openvino_reports_nothing_to_anyone(tmp_path: Path) -> None:
    code = (
        "import sys; from oarseg.inference.engines.openvino_core import import_openvino; import_openvino();"
        "print(sys.modules['openvino_telemetry'], 'openvino.tools.ovc.telemetry_stub' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["None", "True"], done.stderr
