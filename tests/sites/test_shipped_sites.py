"""The tables that come with oarseg: the method's organs, sizes that fit, and a file that a person can read."""

from __future__ import annotations

import json

import pytest
from site_tables import table_text

from oarseg.sites import Organ, load_site
from oarseg.sites.table import FOLDER, known_sites

# The organs of the published method by site.
METHOD = {
    "thorax": ["SpinalCord", "Lung_L", "Lung_R", "Heart", "Esophagus"],
    "abdomen": ["Kidney_L", "Kidney_R", "Liver", "SpinalCord"],
    "pelvis": ["Bladder", "Femur_Head_L", "Femur_Head_R", "Bowel_Small", "Rectum", "SpinalCord"],
}
WITHOUT_WEIGHTS = sorted(METHOD)


def test_known_sites_are_tables_and_nothing_else() -> None:
    assert known_sites() == sorted(["head_neck", *METHOD])
    for name in known_sites():
        assert load_site(name).site == name


@pytest.mark.parametrize("site", WITHOUT_WEIGHTS)
def test_the_organs_of_the_method(site: str) -> None:
    assert [o.name for o in load_site(site).organs] == METHOD[site]


@pytest.mark.parametrize("site", WITHOUT_WEIGHTS)
def test_sizes_fit_into_each_other(site: str) -> None:
    table = load_site(site)
    for organ in table.organs:
        assert organ.extent_mm is not None
        for axis in range(3):
            voxel = organ.field_mm[axis] / organ.grid[axis]
            assert voxel * organ.grid[axis] == pytest.approx(organ.field_mm[axis])
            assert organ.field_mm[axis] >= organ.extent_mm[axis] + 2 * organ.margin_mm[axis]
            assert 1 <= voxel <= table.localizer.spacing_mm[axis]
            assert organ.grid[axis] % 8 == 0
        assert organ.volume_cm3[1] < box_cm3(organ)
        # A network of width 16 needs some 1.5 GB for a million voxels: a workstation's, not a cluster's.
        assert organ.grid[0] * organ.grid[1] * organ.grid[2] < 1.1e6


def box_cm3(organ: Organ) -> float:
    return organ.extent_mm[0] * organ.extent_mm[1] * organ.extent_mm[2] / 1000


@pytest.mark.parametrize("site", WITHOUT_WEIGHTS)
def test_a_typical_volume_is_plausible(site: str) -> None:
    """The means of the tables' sources (lungs: five litres, split as they say) lie well inside the ranges."""
    mean = {
        "Lung_L": 2300, "Lung_R": 2700, "Kidney_L": 160, "Kidney_R": 160, "Liver": 1281, "Bladder": 370,
        "Femur_Head_L": 4 / 3 * 3.1416 * 2.46**3, "Femur_Head_R": 4 / 3 * 3.1416 * 2.46**3, "Bowel_Small": 250,
    }  # fmt: skip
    for organ in load_site(site).organs:
        if organ.name in mean:
            assert 1.5 * organ.volume_cm3[0] < mean[organ.name] < organ.volume_cm3[1] / 1.5, organ.key


def test_what_is_particular() -> None:
    assert not load_site("thorax").symmetric and not load_site("abdomen").symmetric, "heart and liver have one side"
    assert load_site("pelvis").symmetric and load_site("head_neck").symmetric
    several = [o.key for name in known_sites() for o in load_site(name).organs if not o.one_piece]
    assert several == ["small_bowel"]
    # One lung each: as one organ, the smaller one would be thrown away as a second piece.
    assert {"lung_left", "lung_right"} < set(load_site("thorax").values)


@pytest.mark.parametrize("site", ["head_neck", *WITHOUT_WEIGHTS])
def test_files_are_written_for_a_reader(site: str) -> None:
    text = (FOLDER / f"{site}.json").read_text(encoding="utf-8")
    assert table_text(json.loads(text)) == text
    for organ in load_site(site).organs:
        assert sum(f'"key": "{organ.key}"' in line for line in text.splitlines()) == 1
