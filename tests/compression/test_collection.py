"""The packed networks of a two-stage bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oarseg.compression.collection import levels_of, main, pack
from oarseg.compression.unpacking import read_arrays
from oarseg.errors import ConfigError
from oarseg.networks import UNet3d


def test_a_packed_network_holds_few_values_and_the_network_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet3d(2, base_width=4, poolings=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    size = pack(network, "layer", 7, tmp_path / "a.packed")
    found = read_arrays(tmp_path / "a.packed")
    assert size == (tmp_path / "a.packed").stat().st_size
    assert set(found) == set(before)
    kernel = found["encoder.1.0.weight"]
    assert len(np.unique(kernel)) <= 7
    assert np.abs(kernel - before["encoder.1.0.weight"].numpy()).max() < 0.5 * np.abs(kernel).max()
    np.testing.assert_array_equal(found["head.bias"], before["head.bias"].numpy())
    for name, tensor in network.state_dict().items():
        assert tensor.equal(before[name])


@pytest.mark.parametrize(
    "text", ["channel", "channel:", "channel:64", "channel:-3", "nothing:31", "channel:99999", ":31"]
)
def test_levels_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        levels_of(text)


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
