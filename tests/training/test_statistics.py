"""Mean of the means and mean of the standard deviations (eqs 3-3, 3-4)."""

from __future__ import annotations

import json

import pytest
import torch

from oarseg.errors import ConfigError
from oarseg.sites import load_site
from oarseg.sites.edit import table_text, write_statistics
from oarseg.sites.table import FOLDER
from oarseg.training.statistics import intensity_statistics


class Draws(torch.utils.data.Dataset):
    """Two cases with known means and standard deviations."""

    items = [torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 4.0]])]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> list[dict]:
        return [{"image": self.items[index]}]


def test_means_of_means_and_stds():
    # Means 1 and 4; standard deviations sqrt(2) and 0; the first case comes twice in three draws.
    mean, std = intensity_statistics(Draws(), draws=3)
    assert (mean, std) == (pytest.approx(2.0), pytest.approx(2 * 2**0.5 / 3, abs=1e-4))


def test_no_draws_is_an_error():
    with pytest.raises(ConfigError, match="at least one draw"):
        intensity_statistics(Draws(), draws=0)


def test_written_for_an_organ_and_its_twin(tmp_path):
    table = tmp_path / "head_neck.json"
    table.write_bytes((FOLDER / "head_neck.json").read_bytes())
    assert write_statistics(table, "eye_right", 0.25, 0.5) == ["eye_left", "eye_right"]
    changed, site = load_site(str(table)), load_site()
    assert {o.key for o in changed.organs if (o.mean, o.std) == (0.25, 0.5)} == {"eye_left", "eye_right"}
    assert changed.organ("mandible") == site.organ("mandible") and changed.localizer == site.localizer
    with pytest.raises(ConfigError, match="no row 'liver'"):
        write_statistics(table, "liver", 0.1, 0.1)


def test_the_shipped_table_is_in_the_written_form():
    text = (FOLDER / "head_neck.json").read_text(encoding="utf-8")
    assert table_text(json.loads(text)) == text
