"""Settings of a chain that do not fit each other, refused before hours of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from oarseg.compression import Chain
from oarseg.compression.recipe import Recipe
from oarseg.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stages": ["prune"]}, "stages must be a list of some of channels, remove"),
        ({"stages": []}, "stages must be a list"),
        ({"stages": "channels"}, "stages must be a list"),
        ({"retrain_steps": -1}, "retrain_steps must be a number from 0"),
        ({"retrain_steps": {"channels": 5}}, "retrain_steps must be a number from 0, or one for each"),
        ({"retrain_steps": {"cuts": 5}}, "stages must be a list"),
        ({"norm_batches": -1}, "norm_batches must be a number from 0"),
        ({"norm_batches": 0.5}, "norm_batches must be a number from 0"),
        ({"ratios": [0.5, 1.0]}, "would empty a layer"),
        ({"ratio": 0.3}, "ratio 0.3 is none of the ratios"),
        ({"stages": 5}, "stages must be a list"),
        ({"stages": ["channels", "levels"], "ratio": 0.3}, "ratio 0.3 is none of the ratios"),
        ({"stages": ["channels", "threshold"], "ratio": 0.3}, "ratio 0.3 is none of the ratios"),
        ({"ratio": "0.1"}, "ratio must be a number, not '0.1'"),
        ({"ratios": 0.1}, "ratios must be a list of numbers, not 0.1"),
        ({"ratios": ["a"]}, "ratios must be a list of numbers"),
        ({"ratios": [0.1, True]}, "ratios must be a list of numbers"),
        ({"ratios": [0.2, 0.1, 0.2]}, "ratios must differ from each other"),
        ({"ratios": [0.2, 0.2000000001]}, "ratios must differ from each other"),
        ({"thresholds": ["x"]}, "thresholds must be a list of numbers"),
        ({"thresholds": "0.02"}, "thresholds must be a list of numbers"),
        ({"thresholds": [0.02, 0.02]}, "thresholds must differ from each other"),
        ({"threshold": None}, "threshold must be a number, not None"),
        ({"levels": 31}, "levels must be a list of whole numbers, not 31"),
        ({"levels": [7.0]}, "levels must be a list of whole numbers"),
        ({"levels": [7, 7]}, "levels must differ from each other"),
        ({"schemes": 5}, "schemes must be a list of names"),
        ({"schemes": ["layer", "layer"]}, "schemes must differ from each other"),
        ({"ranking": "size"}, "ranking must be one of"),
        ({"thresholds": [0.0]}, "thresholds must lie between 0 and 1"),
        ({"threshold": 0.3}, "threshold 0.3 is none of the thresholds"),
        ({"levels": [4]}, "levels, not 4"),
        ({"schemes": ["nearest"]}, "scheme must be one of"),
    ],
)
def test_settings_that_do_not_fit(wrong: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        Chain(str(tmp_path), str(tmp_path), "model.pt", parser=ConfigParser({}), **wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"stages": ["channels"], "ratio": 0.3},
        {"stages": ["remove", "threshold"], "ratio": 0.3, "threshold": 0.3},
        {"ratios": (0.2, 0), "threshold": 0.02},
    ],
)
def test_what_no_stage_begins_with_may_be_anything(right: dict, tmp_path: Path) -> None:
    assert Chain(str(tmp_path), str(tmp_path), "model.pt", parser=ConfigParser({}), **right).stages


def test_configs_of_0_1_0_name_measure(tmp_path: Path) -> None:
    assert Chain(str(tmp_path), str(tmp_path), "model.pt", parser=ConfigParser({}), measure=True).stages


def test_a_chain_needs_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is part of a MONAI config"):
        Chain(str(tmp_path), str(tmp_path), "model.pt")


def test_recipe_settings_leave_out_what_does_not_matter() -> None:
    text = {"device": "cuda", "learning_rate": 0.1, "loss": {"parts": [1, {"gamma": 2}]}, "chain": {"a": 1}}
    settings = Recipe(ConfigParser(text)).settings(("chain",))
    assert settings == {"learning_rate": "0.1", "loss::parts::0": "1", "loss::parts::1::gamma": "2"}
