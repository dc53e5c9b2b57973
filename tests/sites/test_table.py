"""The organ table, and tables that contradict themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oarseg.errors import ConfigError
from oarseg.sites import load_organ, load_site
from oarseg.sites.table import FOLDER, known_sites

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
    with pytest.raises(ConfigError, match="'heart' is not in site 'head_neck'. .*eye_left .Eye_L., eye_right"):
        load_site().organ("heart")
    with pytest.raises(ConfigError, match="'Parotid_Left_old' .*did you mean parotid_left"):
        load_site().organ("Parotid_Left_old")
    with pytest.raises(ConfigError, match="did you mean mandible.*Bone_Mandible"):
        load_site().organ("bone mandible")
    with pytest.raises(ConfigError, match="no site table elbow.json; known sites: .*head_neck, .*thorax"):
        load_site("elbow")


@pytest.mark.parametrize("name", ["parotid_left", "Parotid_L", "PAROTID_L", "parotid_l", " Parotid_Left "])
def test_an_organ_has_a_key_and_a_tg_263_name_in_any_case(name: str) -> None:
    assert load_site().organ(name).key == "parotid_left"


def test_every_organ_of_every_site_has_its_own_names() -> None:
    for site in map(load_site, known_sites()):
        for organ in site.organs:
            assert site.organ(organ.key) is organ and site.organ(organ.name.upper()) is organ


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
        (lambda raw: raw["organs"][0].update(key="localizer"), "localizer: this key has another meaning"),
        (lambda raw: raw["organs"][1].update(name="Brainstem"), "share one name: Brainstem"),
        (lambda raw: raw["organs"][1].update(title="brainstem"), "share one title: brainstem"),
        (lambda raw: raw["organs"][0].update(name="Brainstem_and_more"), "TG-263 name: .* at most 16"),
        (lambda raw: raw["organs"][0].update(name="Brain stem"), "TG-263 name"),
        (lambda raw: raw["organs"][0].update(name="Brainstem_L"), "brainstem: mirror must name .* says a side"),
        (lambda raw: raw["organs"][0].update(mirror="brainstem"), "names it back"),
        (lambda raw: raw["organs"][1].update(name="Oculus_L"), "Eye_R must be called as Oculus_L"),
        (lambda raw: swap(raw["organs"], "name", "Eye_L", "Eye_R"), "the key of Eye_R must end in _right"),
        (lambda raw: raw["organs"][1].update(grid=[40, 32, 32]), "grid differs from eye_right's"),
        (lambda raw: raw["organs"][0].update(color=[0, 0, 256]), "color .* 0 to 255"),
        (lambda raw: raw["organs"][0].update(volume_cm3=[45, 10]), "volume_cm3"),
        (lambda raw: raw["organs"][0].update(volume_cm3=[0, 10]), "volume_cm3"),
        (lambda raw: raw["organs"][0].update(field_mm=[20, 80, 80]), "smaller than twice margin_mm: .24, 20, 20."),
        (lambda raw: raw["organs"][0].update(extent_mm=[90, 80, 60]), r"twice margin_mm: \[114, 100, 80\]"),
        (lambda raw: raw["organs"][0].update(extent_mm=[20, 20, 20]), r"does not fit into extent_mm .*\(8 cm3\)"),
        (lambda raw: raw["organs"][0].update(field_mm=[112, 80, 800]), "coarser than the localizer's"),
        (lambda raw: raw["organs"][0].update(margin_mm=[-1, 0, 0]), "must not be negative"),
        (lambda raw: raw["organs"][0].update(grid=[0, 64, 64]), "grid .* must divide by 8"),
        (lambda raw: raw["organs"][0].update(base_width=0), "brainstem: base_width 0"),
        (lambda raw: raw["organs"][0].update(std=0), "brainstem: std 0 must be above 0"),
        (lambda raw: raw["organs"][0].update(title="stem # 1"), "holds '#'"),
        (lambda raw: raw["localizer"].update(std=-1), "localizer: std -1"),
        (lambda raw: raw["localizer"].update(window=[70, 208, 208]), "localizer: window .* divide by 8"),
        (lambda raw: raw["localizer"].update(train_crop=[80, 96, 80]), "train_crop .* fit into window"),
        (lambda raw: raw["localizer"].update(spacing_mm=[0.0, 2.5, 2.5]), "localizer: spacing_mm"),
        (lambda raw: raw.update(prefix="HN CT"), "prefix 'HN CT'"),
        (lambda raw: raw.update(organ_bundles="all_of_them"), "organ_bundles 'all_of_them'"),
        (lambda raw: raw.update(organ_bundles="../{key}"), "organ_bundles '../{key}'"),
        (lambda raw: raw.update(organs=[]), "0 organs, expected 1 to 254"),
    ],
)
def test_contradictions(change: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_site(table(tmp_path, change))
    assert str(caught.value).startswith("site table odd.json: ")


def swap(rows: list[dict], field: str, one: str, other: str) -> None:
    """Exchange two values of a field."""
    for row in rows:
        row[field] = {one: other, other: one}.get(row[field], row[field])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["organs"][0].pop("color"), "organ 'brainstem' lacks 'color'"),
        (lambda raw: raw["organs"][0].update(extra=1), "organ 'brainstem' has the unknown field 'extra'"),
        (lambda raw: raw["organs"][0].update(key=7), "organ 1: key is 7, expected a text"),
        (lambda raw: raw["organs"][0].update(value=True), "value is True, expected a whole number"),
        (lambda raw: raw["organs"][0].update(grid=[64, 64]), r"grid is \[64, 64\], expected 3 numbers"),
        (lambda raw: raw["organs"][0].update(grid=[64, 64, 64.5]), "expected whole numbers"),
        (lambda raw: raw["organs"][0].update(field_mm="wide"), "field_mm is 'wide', expected 3 numbers"),
        (lambda raw: raw["organs"][0].update(mean="0.5"), "mean is '0.5', expected a number"),
        (lambda raw: raw["organs"][0].update(std=float("nan")), "std is nan, expected a number"),
        (lambda raw: raw["organs"][0].update(std=float("inf")), "std is inf, expected a number"),
        (lambda raw: raw["organs"][0].update(base_width=10**400), "expected a whole number"),
        (lambda raw: raw["organs"][0].update(one_piece="no"), "one_piece is 'no', expected true or false"),
        (lambda raw: raw["organs"][0].update(title=" "), "title is ' ', expected a text"),
        (lambda raw: raw["organs"][0].update(title="a\nb"), "expected a text of one line"),
        (lambda raw: raw["organs"].insert(0, "heart"), "organ 1 is 'heart', expected an object"),
        (lambda raw: raw.pop("localizer"), "the table lacks 'localizer'"),
        (lambda raw: raw.update(localizer=None), "localizer is None, expected an object"),
        (lambda raw: raw.update(organs=5), "organs must be a list"),
        (lambda raw: raw.update(sources="a book"), "sources is 'a book', expected a list of texts"),
        (lambda raw: raw.update(comment="x"), "the table has the unknown field 'comment'"),
    ],
)
def test_malformed(change: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_site(table(tmp_path, change))
    assert str(caught.value).startswith("site table odd.json is malformed: ")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    def change(raw: dict) -> None:
        raw["organs"][0].update(std=0)
        raw["organs"][3].update(grid=[1, 2, 3])

    with pytest.raises(ConfigError, match="brainstem: std .*; mandible: grid"):
        load_site(table(tmp_path, change))


def test_sides_of_an_asymmetric_site_may_differ(tmp_path: Path) -> None:
    def change(raw: dict) -> None:
        raw["symmetric"] = False
        raw["organs"][1].update(grid=[40, 32, 32])

    site = load_site(table(tmp_path, change))
    assert site.organ("eye_left").grid != site.organ("eye_right").grid


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="odd.json is malformed"):
        load_site(str(tmp_path / "odd.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "malformed"),
        (b"[1, 2]", r"the table is \[1, 2\], expected an object"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b" " * 1_100_000, "more than 1000 kB"),
        (b'{"site": "a", "site": "b"}', "the field 'site' stands twice"),
    ],
)
def test_no_table(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_site(str(tmp_path / "odd.json"))


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "odd.json").mkdir()
    with pytest.raises(ConfigError, match="site table odd.json cannot be read: Is a directory"):
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
