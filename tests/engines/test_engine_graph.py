"""A UNet3d built as an OpenVINO model gives what PyTorch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oarseg.errors import WeightsError
from oarseg.inference.engines import graph, openvino_core
from oarseg.networks import UNet3d
from oarseg.requires import installed

if not installed("openvino"):
    pytest.skip("openvino is not installed", allow_module_level=True)
# Not imported directly, which would switch its telemetry on.
openvino = openvino_core.import_openvino()

# As channel pruning leaves them: no two alike.
WIDTHS = {"encoder": [[5, 7], [9, 10], [13, 12]], "up": [8, 6], "decoder": [[9, 7], [5, 4]]}


@pytest.fixture(scope="module")
def network() -> UNet3d:
    torch.manual_seed(0)
    network = UNet3d(3, widths=WIDTHS, mean=0.3, std=0.2, in_channels=2).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network


@pytest.fixture(scope="module")
def state(network: UNet3d) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def computed(model: object, image: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([image])[0]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 2, 16, 12, 20), np.float32)


@pytest.fixture(scope="module")
def wanted(network: UNet3d, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(image)).numpy()


def ranges(network: UNet3d, image: np.ndarray) -> dict[str, tuple[float, float]]:
    """Lowest and highest activation, from the PyTorch network itself."""
    seen, hooks = {}, []
    for name, module in network.named_modules():
        kind = name.split(".")
        if isinstance(module, nn.BatchNorm3d):
            key = ".".join(kind[:-1] + [str(int(kind[-1]) - 1)])
            hooks.append(module.register_forward_hook(lambda m, i, o, key=key: seen.update({key: o.clone().relu_()})))
        elif isinstance(module, nn.ConvTranspose3d):
            hooks.append(module.register_forward_hook(lambda m, i, o, key=name: seen.update({key: o.clone()})))
    with torch.no_grad():
        network(torch.from_numpy(image))
    for hook in hooks:
        hook.remove()
    return {key: (float(seen[key].min()), float(seen[key].max())) for key in [*graph.names(2), graph.last(2)]}


def in_floats(ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Without the one that rounds the last convolution."""
    return {key: value for key, value in ranges.items() if key != graph.last(2)}


def test_full_precision_is_pytorch_s(state: dict, image: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(computed(graph.build(state, 0.3, 0.2), image), wanted, atol=1e-5)


def test_eight_bits_are_close(network: UNet3d, state: dict, image: np.ndarray, wanted: np.ndarray) -> None:
    whole = ranges(network, image)
    found = [computed(graph.build(state, 0.3, 0.2, some), image) for some in (in_floats(whole), whole)]
    errors = [np.abs(one - wanted) for one in found]
    assert 0 < errors[0].mean() < errors[1].mean() < 0.02 * wanted.std() + 0.005


def test_ranges_matter(network: UNet3d, state: dict, image: np.ndarray, wanted: np.ndarray) -> None:
    narrow = {name: (low / 10, high / 10) for name, (low, high) in ranges(network, image).items()}
    good = computed(graph.build(state, 0.3, 0.2, ranges(network, image)), image)
    bad = computed(graph.build(state, 0.3, 0.2, narrow), image)
    assert np.abs(bad - wanted).mean() > 3 * np.abs(good - wanted).mean()


def test_nncf_s_ranges_go_back_in(state: dict, image: np.ndarray, wanted: np.ndarray) -> None:
    nncf = pytest.importorskip("nncf", reason="NNCF is not installed")
    model = nncf.quantize(
        graph.build(state, 0.3, 0.2),
        nncf.Dataset([image]),
        subset_size=1,
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
    )
    found = graph.ranges_of(model)
    # NNCF rounds what goes into the last convolution too.
    assert sorted(found) == sorted([*graph.names(2), graph.last(2)])
    again = computed(graph.build(state, 0.3, 0.2, found), image)
    # They are not equal: it does not leave the first convolution in floats.
    assert np.abs(again - wanted).mean() < 1.2 * np.abs(computed(model, image) - wanted).mean()


@pytest.mark.parametrize("name", ["decoder.1.3.weight", "head.bias", "encoder.0.1.running_var"])
def test_a_missing_weight_is_named(state: dict, name: str) -> None:
    with pytest.raises(WeightsError, match=f"the weight {name} of the UNet3d is missing"):
        graph.build({key: value for key, value in state.items() if key != name}, 0.3, 0.2)


def test_a_missing_range_is_named(network: UNet3d, state: dict, image: np.ndarray) -> None:
    some = ranges(network, image)
    del some["up.1"]
    with pytest.raises(WeightsError, match=r"the range up\.1 of the UNet3d is missing"):
        graph.build(state, 0.3, 0.2, some)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("decoder.1.0.weight", (5, 3, 3, 3, 3)),
        ("encoder.0.0.weight", (5,)),
        ("encoder.0.0.weight", (5, 2, 5, 5, 5)),
        ("encoder.1.0.weight", (9, 7)),
        ("encoder.1.1.weight", (2,)),
        ("up.0.weight", (12, 8, 3, 3, 3)),
        ("head.weight", ()),
    ],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_weights_of_another_shape_are_refused(name, shape, rounded, network, state, image) -> None:
    wrong = state | {name: np.ones(shape, np.float32)}
    with pytest.raises(WeightsError, match="do not make a UNet3d .*install the bundle again") as error:
        graph.build(wrong, 0.3, 0.2, ranges(network, image) if rounded else None)
    assert "\n" not in str(error.value)


def test_no_weights_at_all() -> None:
    with pytest.raises(WeightsError, match="missing"):
        graph.build({}, 0.3, 0.2)


def test_bytes_come_nearest_and_keep_zero_channels() -> None:
    weight = np.random.default_rng(1).normal(size=(4, 3, 2, 2, 2)).astype(np.float32)
    weight[2] = 0
    codes, scale = graph.in_bytes(weight, axis=0)
    assert codes.dtype == np.int8 and scale.shape == (4, 1, 1, 1, 1)
    assert (np.abs(codes * scale - weight) <= scale / 2 + 1e-7).all()
    assert not codes[2].any()
    assert np.abs(codes).max(axis=(1, 2, 3, 4)).tolist() == [127, 127, 0, 127]


def test_which_convolutions_stay_in_floats(network: UNet3d, state: dict, image: np.ndarray) -> None:
    whole = ranges(network, image)
    for some, end in ((in_floats(whole), "Constant"), (whole, "Multiply")):
        model = graph.build(state, 0.3, 0.2, some)
        kernels = [n.input_value(1).get_node() for n in model.get_ordered_ops() if "Convolution" in n.get_type_name()]
        kinds = [kernel.get_type_name() for kernel in kernels]
        assert kinds == ["Constant", *["Multiply"] * (len(kinds) - 2), end]
