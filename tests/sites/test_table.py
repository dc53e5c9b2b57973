"""The organ table, and tables that contradict themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oarseg.errors import ConfigError
from oarseg.sites import load_organ, load_site
from oarseg.sites.table import FOLDER

GRIDS = {
    "brainstem": (64, 64, 64), "eye_left": (32, 32, 32), "eye_right": (32, 32, 32), "mandible": (64, 128, 128),
    "optic_nerve_left": (32, 32, 32), "optic_nerve_right": (32, 32, 32),
    "parotid_left": (64, 64, 64), "parotid_right": (64, 64, 64),
}  # fmt: skip
TG263 = [
    "Brainstem", "Eye_L", "Eye_R", "Bone_Mandible", "OpticNrv_L", "OpticNrv_R", "Parotid_L", "Parotid_R",
]  # fmt: skip


def test_the_thesis_organs() -> None:
    site = load_site()
    assert {o.key: o.grid for o in site.organs} == GRIDS
    assert [o.name for o in site.organs] == TG263
    assert list(site.values.values()) == list(range(1, 9))
    assert site.localizer.window == (72, 208, 208)
    for organ in site.organs:
        assert organ.mirror is None or site.organ(organ.mirror).grid == organ.grid


def test_small_organs_weigh_more() -> None:
    weights = load_site().class_weights
    assert weights[0] == 1 and weights[4] == pytest.approx(1)
    assert len(weights) == 9 and min(weights) == 1
    assert weights[5] == weights[6] == max(weights)


def test_unknown_names_tell_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="brainstem, eye_left"):
        load_site().organ("heart")
    with pytest.raises(ConfigError, match="known sites: head_neck"):
        load_site("thorax")


def table(tmp_path: Path, change: Callable[[dict], object]) -> str:
    raw = json.loads((FOLDER / "head_neck.json").read_text(encoding="utf-8"))
    change(raw)
    (tmp_path / "odd.json").write_text(json.dumps(raw), encoding="utf-8")
    return str(tmp_path / "odd.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["organs"].reverse(), "1, 2, 3"),
        (lambda raw: raw["organs"][1].update(key="brainstem"), "share one key"),
        (lambda raw: raw["organs"][1].update(color=raw["organs"][0]["color"]), "share one color"),
        (lambda raw: raw["organs"][1].update(mirror=None), "eye_right: mirror"),
        (lambda raw: raw["organs"][1].update(mirror="heart"), "eye_left: mirror"),
        (lambda raw: raw["organs"][0].update(grid=[60, 64, 64]), "divide by 8"),
        (lambda raw: raw["organs"][0].update(key="Brain Stem"), "lower-case"),
        (lambda raw: raw["organs"][0].pop("color"), "malformed"),
        (lambda raw: raw["organs"][0].update(extra=1), "malformed"),
        (lambda raw: raw.pop("localizer"), "malformed"),
        (lambda raw: raw.update(organs=5), "malformed"),
    ],
)
def test_contradictions(change: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_site(table(tmp_path, change))
    assert "odd.json" in str(caught.value)


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="odd.json is malformed"):
        load_site(str(tmp_path / "odd.json"))


@pytest.mark.parametrize("content", [None, "{}", "[]", '{"key": "heart"}', "{"])
def test_organ_of_a_bundle(content: str | None, tmp_path: Path) -> None:
    (tmp_path / "site.json").write_bytes((FOLDER / "head_neck.json").read_bytes())
    (tmp_path / "organ.json").write_text('{"key": "mandible"}', encoding="utf-8")
    assert load_organ(tmp_path).value == 4
    if content is None:
        (tmp_path / "organ.json").unlink()
    else:
        (tmp_path / "organ.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_organ(tmp_path)
