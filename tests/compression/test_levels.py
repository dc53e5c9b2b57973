"""Every published table, and the schemes beside them."""

from __future__ import annotations

import pytest
import torch

from oarseg.compression import PRINTED, SCHEMES, table
from oarseg.compression.levels import fitted_scale
from oarseg.errors import ConfigError
from oarseg.inference.engines.packed.layout import bits

STEPS = {3: 0.30, 5: 0.18, 7: 0.13, 15: 0.06, 31: 0.03}


def looked_up(count: int, scheme: str, weights: list[float]) -> list[float]:
    levels = table(count, scheme)
    return [levels.values[code] for code in levels.codes(torch.tensor(weights, dtype=torch.float64)).tolist()]


def test_printed_values() -> None:
    assert table(2, "printed").values == (-1, 1)
    assert table(3, "printed").values == (-1, 0, 1)
    assert table(5, "printed").values == (-0.27, -0.09, 0, 0.09, 0.27)
    assert table(7, "printed").values == (-0.325, -0.195, -0.065, 0, 0.065, 0.195, 0.325)
    inner = [0.03, 0.09, 0.15, 0.21, 0.27, 0.33, 0.39]
    assert table(15, "printed").values == (*(-v for v in reversed(inner)), 0, *inner)
    inner = [0.015, 0.045, 0.075, 0.105, 0.135, 0.165, 0.195, 0.225, 0.255, 0.285, 0.315, 0.345, 0.375, 0.405, 0.435]
    assert table(31, "printed").values == (*(-v for v in reversed(inner)), 0, *inner)


@pytest.mark.parametrize("count", PRINTED)
def test_number_of_levels_and_bits(count: int) -> None:
    for scheme in SCHEMES:
        values = table(count, scheme).values
        assert len(values) == count
        assert list(values) == sorted(values) and [-v for v in reversed(values)] == list(values)
    assert bits(count) == {2: 1, 3: 2, 5: 3, 7: 3, 15: 4, 31: 5}[count]


@pytest.mark.parametrize(("count", "step"), STEPS.items())
def test_printed_bins(count: int, step: float) -> None:
    assert step == round(0.9 / count, 2)
    near, last = 1e-4, (count - 1) // 2
    # Within half a step of zero, and on the edge itself.
    assert looked_up(count, "printed", [0.0, step / 2, -step / 2, step / 2 - near, near - step / 2]) == [0] * 5
    for place in range(1, last + 1):
        edge = (place - 0.5) * step
        value = 1.0 if count == 3 else pytest.approx(edge)
        negative = -1.0 if count == 3 else pytest.approx(-edge)
        inside = [edge + near, edge + step / 2] + ([edge + step - near] if place < last else [0.45, 0.9, 7.0])
        assert looked_up(count, "printed", inside) == [value] * len(inside)
        assert looked_up(count, "printed", [-w for w in inside]) == [negative] * len(inside)


def test_binary_is_the_sign() -> None:
    assert looked_up(2, "printed", [-3.0, -1e-6, 0.0, 1e-6, 3.0]) == [-1, -1, 1, 1, 1]
    assert looked_up(2, "centres", [-3.0, 0.2]) == [-0.225, 0.225]


def test_centres_lie_in_the_middle_of_the_printed_bins() -> None:
    for count, step in STEPS.items():
        printed, centres = table(count, "printed"), table(count, "centres")
        assert centres.edges == printed.edges
        assert centres.magnitudes == pytest.approx([i * step for i in range(len(printed.magnitudes))])


def test_fitted_scale_is_better_than_the_fixed_range_and_than_its_neighbours() -> None:
    weight = 0.04 * torch.randn(6, 40, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] *= 5

    def error(levels, scale) -> float:
        values = torch.tensor(levels.values)
        return float((values[levels.codes(weight / scale).long()] * scale - weight).square().mean())

    for count in PRINTED:
        levels = table(count, "layer")
        layer, channel = fitted_scale(weight, levels), fitted_scale(weight, levels, 0)
        assert layer.shape == (1, 1, 1, 1, 1) and channel.shape == (6, 1, 1, 1, 1)
        assert error(levels, channel) < error(levels, layer) < error(table(count, "printed"), torch.ones(1))
        assert error(levels, layer) <= min(error(levels, layer * f) for f in (0.8, 1.25))


def test_fitted_scale_of_zeros_is_positive() -> None:
    weight = torch.zeros(2, 1, 1, 1, 3)
    weight[1] = 0.5
    assert (fitted_scale(weight, table(3, "channel"), 0) > 0).all()


@pytest.mark.parametrize(
    ("count", "scheme", "message"),
    [
        (4, "layer", "must be 2 or an odd number from 3 to 255, not 4"),
        (257, "layer", "not 257"),
        (1, "channel", "not 1"),
        (9, "printed", "has 2, 3, 5, 7, 15, 31 levels, not 9"),
        (3, "best", "scheme must be one of printed, centres, layer, channel, learned, not 'best'"),
    ],
)
def test_tables_that_are_none(count: int, scheme: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table(count, scheme)
