"""Names of organs: every spelling to one organ, no side invented, nothing matched in part."""

from __future__ import annotations

import json

import pytest

from oarseg.errors import ConfigError, InputError
from oarseg.sites import load_site
from oarseg.sites.roi_names import load_names, normalised

SITE = load_site()
TABLE = load_names(SITE)


@pytest.mark.parametrize(
    "name, key",
    [
        ("Parotid_L", "parotid_left"), ("Parotid-Left", "parotid_left"), ("Lt Parotid", "parotid_left"),
        ("PAROTID GLAND, RIGHT", "parotid_right"), ("RightParotid", "parotid_right"), ("parotid_rt.", "parotid_right"),
        ("ParotidR", "parotid_right"), ("Parotis links", "parotid_left"), ("Parotide droite", "parotid_right"),
        ("Glandula parotis dextra", "parotid_right"), ("BrainStem", "brainstem"), ("BRAIN STEM", "brainstem"),
        ("brain-stem", "brainstem"), ("Hirnstamm", "brainstem"), ("Tronc Cérébral", "brainstem"),
        ("Mandible", "mandible"), ("Bone_Mandible", "mandible"), ("mandibula", "mandible"),
        ("OpticNrv_L", "optic_nerve_left"), ("Optic_Nerve_R", "optic_nerve_right"),
        ("L Optic Nerve", "optic_nerve_left"),
        ("OPTIC NERVE LT", "optic_nerve_left"), ("N. opticus sin", "optic_nerve_left"), ("Eye_L", "eye_left"),
        ("eyeball right", "eye_right"), ("LT EYE", "eye_left"), ("LTEye", "eye_left"), ("Globe Rt", "eye_right"),
        ("Bulbus oculi sinister", "eye_left"), ("parotid_left", "parotid_left"),
        ("Parotis li", "parotid_left"), ("Parotis re.", "parotid_right"), ("Auge_li", "eye_left"),
        ("Sehnerv re", "optic_nerve_right"), ("ParotisRe", "parotid_right"), ("li Parotis", "parotid_left"),
        ("Parotide gauche", "parotid_left"), ("Oeil droit", "eye_right"), ("Nerf optique gauche", "optic_nerve_left"),
        ("Parótida izq", "parotid_left"), ("Parotida der.", "parotid_right"), ("Ojo izquierdo", "eye_left"),
        ("Nervio óptico derecho", "optic_nerve_right"), ("Occhio sinistro", "eye_left"),
        ("Parotide dx", "parotid_right"),
        ("N opticus dex", "optic_nerve_right"), ("Parotis sin", "parotid_left"), ("L_Parotid", "parotid_left"),
        ("RParotid", "parotid_right"), ("LEye", "eye_left"), ("R Optic Nerve", "optic_nerve_right"),
        ("Parotid (L)", "parotid_left"), ("Eye, Lft", "eye_left"),
    ],
)  # fmt: skip
def test_spellings(name, key):
    assert TABLE.organ(name) == key


@pytest.mark.parametrize(
    "name",
    [
        "Parotid", "Parotids", "Parotid_L_R", "Parotid_L_PRV", "Parotid L boost", "Parotid_L-PTV", "Parotid L 05",
        "ParotidCon-PTV", "Parotid ipsilateral", "Parotid contra", "Mandible_L", "Brainstem_L", "Brainstem_PRV03",
        "Medulla-Oblongata", "Optic Chiasm", "Orbit_L", "Lens_L", "Eyes", "BRAIN", "stem", "Parotidl", "L", "", "  ",
        "Lips", "LIPS", "Larynx", "Retina", "Re-Parotid", "Re Parotid", "sin parotida", "Sin Parotid", "der Parotis",
        "Parotidre", "Parotisli", "Mandible re", "Hirnstamm li", "Parotid L re", "li re Parotis", "Parotid lire",
        "Parotid sinus", "Glandula", "Parotid G", "Parotid D", "Lidparotid", "Reparotis", "ParotidLi re", "Eye lid",
        "PTV70", "Left Left Parotid", "Submandibular_L", "Parotid_L_old", "z_Parotid_L", "Parotid" * 100,
    ],
)  # fmt: skip
def test_what_is_not_certain_is_no_organ(name):
    assert TABLE.organ(name) is None


def test_every_spelling_is_one_organ_on_one_side():
    for (side, base), key in TABLE.spellings.items():
        organ = SITE.organ(key)
        assert bool(side) == bool(organ.mirror) and base
        if side:
            twin = TABLE.spellings["R" if side == "L" else "L", base]
            assert twin == organ.mirror
    assert {o.key for o in SITE.organs} == {TABLE.organ(o.name) for o in SITE.organs}
    assert normalised("Lt.Parotid—GLAND  x") == ["lt", "parotid", "gland", "x"]


def test_a_suggestion_is_a_map_that_is_taken_back(tmp_path):
    names = ["Parotis li", "PTV 70", "Globe Rt", "Medulla"]
    suggested = TABLE.suggestion(names)
    assert suggested == {"Globe Rt": "eye_right", "Medulla": None, "PTV 70": None, "Parotis li": "parotid_left"}
    (tmp_path / "names.json").write_text(json.dumps(suggested | {"Medulla": "Brainstem"}))
    table = load_names(SITE, tmp_path / "names.json")
    assert table.organs(names, "here") == {
        "eye_right": "Globe Rt", "brainstem": "Medulla", "parotid_left": "Parotis li"
    }  # fmt: skip
    assert table.unknown(names) == [] and TABLE.unknown(names) == ["PTV 70", "Medulla"]
    # What the user said before is part of the next suggestion.
    assert table.suggestion(["Eye_L"])["Medulla"] == "brainstem"


def test_two_names_of_one_organ(tmp_path):
    assert TABLE.organs(["Parotid_L", "PTV", "Eye_R"], "here") == {"parotid_left": "Parotid_L", "eye_right": "Eye_R"}
    with pytest.raises(ConfigError, match="here: 'Parotid_L' and 'Lt parotid' are both parotid_left"):
        TABLE.organs(["Parotid_L", "Lt parotid"], "here")
    (tmp_path / "names.json").write_text('{"Lt parotid": null, "Medulla": "Brainstem", "P li": "parotid_left"}')
    table = load_names(SITE, tmp_path / "names.json")
    assert table.organs(["Parotid_L", "Lt parotid", " Medulla "], "here") == {
        "parotid_left": "Parotid_L", "brainstem": " Medulla "
    }  # fmt: skip
    assert table.ignored("Lt parotid ") and not table.ignored("Medulla") and table.organ("P li") == "parotid_left"
    # The user's names count letter by letter, the table's go on to count.
    assert table.organ("medulla") is None and table.organ("LTParotid") == "parotid_left"


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"A": "parotid_left", "A": "parotid_right"}', "one organ a name"),
        ('{"P-A": "parotid_left", "p a": "parotid_right"}', "'P-A' is parotid_left"),
        ('{"P-A": "parotid_left", "p a": null}', "'P-A' is parotid_left"),
        ('{"Parotid_L": "parotid_right"}', "by its name it is parotid_left"),
        ('{"A": "heart"}', "'heart' is not in site"),
        ('{"A": 3}', "no JSON map"), ('{"A": {"b": null}}', "no JSON map"), ('["A"]', "no JSON map"),
        ("[]x", "no JSON"), ("{", "no JSON"), ("[" * 100000, "no JSON"),
    ],
)  # fmt: skip
def test_bad_maps(text, said, tmp_path):
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_names(SITE, tmp_path / "names.json")


def test_no_map_and_an_empty_one(tmp_path):
    with pytest.raises(InputError, match="no map of names"):
        load_names(SITE, tmp_path / "none.json")
    (tmp_path / "names.json").write_text(json.dumps({}))
    assert load_names(SITE, tmp_path / "names.json").own == {}


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_map_nested_without_end_is_refused(opening, tmp_path):
    (tmp_path / "names.json").write_text(opening * 200_000, encoding="utf-8")
    with pytest.raises(ConfigError, match="names.json"):
        load_names(SITE, tmp_path / "names.json")
