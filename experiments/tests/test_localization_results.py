"""Margins, summaries and stored rows of localization, against answers known on paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from experiments.localization import store
from experiments.localization.margins import allowance, field_for, held, margin_for, proposals
from experiments.localization.store import FACES, BoxRow, ShiftRow
from experiments.localization.summary import coverage, curve, mean_interval, worst_direction
from oarseg.errors import ConfigError, InputError, OutputError
from oarseg.sites import load_site

SITE = load_site()


def box_row(**values: object) -> BoxRow:
    """A found brainstem in a box of 60 x 40 x 40 mm with 5 mm to spare everywhere."""
    organ = SITE.organ(values.get("organ", "brainstem"))
    row = {"section": "training", "case": "a", "organ": "brainstem", "silver": False, "found": True}
    row |= {"reference_cm3": 20.0, "share": 1.0, "share_margin": 1.0, "size_d": 60.0, "size_h": 40.0, "size_w": 40.0}
    row |= {f"face_{f}": 5.0 for f in FACES} | {f"need_{f}": -5.0 for f in FACES}
    return BoxRow(**(row | {"rule": store.rule_of(organ), "weights": "ab"} | values))


def shift_row(**values: object) -> ShiftRow:
    row = {"case": "a", "organ": "brainstem", "start": "reference", "direction": "none", "shift_mm": 0.0}
    row |= {"share": 1.0, "dice": 0.9, "weights": "ab"}
    organ = SITE.organ(values.get("organ", "brainstem"))
    return ShiftRow(**(row | {"rule": store.rule_of(organ)} | values))


def test_margins_are_what_the_cases_need() -> None:
    rows = [box_row(case=str(i), need_superior=float(i % 10)) for i in range(100)]
    assert margin_for(rows, (0, 0, 0)) == (9, 0, 0)
    # 60 mm in a field of 74: 7 mm on each side are there anyway; with 80 everything is.
    assert margin_for(rows, (74, 0, 0)) == (9, 0, 0) and margin_for(rows, (80, 0, 0)) == (0, 0, 0)
    assert margin_for(rows, (80, 0, 0), extra=(2.5, 0, 0)) == (12, 0, 0)
    assert field_for(rows) == (78, 30, 30)
    # Two of a hundred may fail, the costliest ones; no third.
    rows[0] = box_row(need_left=50.0)
    rows[1] = box_row(need_anterior=40.0)
    assert margin_for(rows, (0, 0, 0)) == (9, 0, 0)
    rows[2] = box_row(need_left=30.0)
    assert margin_for(rows, (0, 0, 0)) == (9, 0, 30)
    # An organ that was not found uses up the failures.
    rows[3] = rows[4] = box_row(found=False, share=0.0)
    assert margin_for(rows, (0, 0, 0)) == (9, 40, 50)


def test_a_proposal_adds_the_allowance_and_is_checked() -> None:
    training = [box_row(case=str(i), need_superior=10.0) for i in range(50)]
    validation = [box_row(case=str(i), section="validation", need_superior=13.2) for i in range(10)]
    rows = training + validation
    assert allowance(rows) == (4, 0, 0) and allowance(training) == (0, 0, 0)
    small = dataclasses.replace(SITE.organ("brainstem"), field_mm=(70, 70, 70), margin_mm=(5, 5, 5))
    site = dataclasses.replace(SITE, organs=(small, *SITE.organs[1:]))
    (proposal,) = proposals(rows, site)
    assert proposal.alone == (10, 0, 0) and proposal.trained == (10, 0, 0) and proposal.proposed == (14, 5, 5)
    assert proposal.growth == pytest.approx((88 / 70, 1, 1)) and proposal.field == (88, 30, 30)
    assert not held(validation[0], small.margin_mm, small.field_mm)
    assert held(validation[0], proposal.proposed, small.field_mm)
    with pytest.raises(ConfigError, match="training"):
        proposals(validation, SITE)


def test_twins_share_their_margins() -> None:
    rows = [box_row(organ="eye_left", need_left=30.0), box_row(organ="eye_right", need_right=40.0)]
    left, right = proposals(rows, SITE)
    assert (left.organ.key, right.organ.key) == ("eye_left", "eye_right")
    assert left.proposed == right.proposed == (8, 8, 40)


def test_coverage_summary_counts() -> None:
    rows = [box_row(share=s, share_margin=m) for s, m in ((1.0, 0.9), (0.995, 1.0), (0.99, 0.9))]
    found = coverage([*rows, box_row(found=False, share=0.0, share_margin=0.0)])
    assert (found.cases, found.found, found.held, found.margin_alone, found.lowest) == (4, 3, 2, 1, 0.0)
    assert not found.enough and found.interval[0] < 0.5 < found.interval[1]
    assert coverage(rows[:2]).enough and coverage(rows[:2]).interval[1] == 1


def test_curves_are_paired_changes() -> None:
    rows = []
    for case, base in (("a", 0.9), ("b", 0.5)):
        rows.append(shift_row(case=case, dice=base))
        rows += [shift_row(case=case, direction=f, shift_mm=8.0, dice=base - 0.06 * (f == "left")) for f in FACES]
    rows.append(shift_row(case="a", start="stage1", dice=0.7))
    line = curve(rows, "reference")
    assert (line.cases, line.shifts_mm) == (2, (0.0, 8.0)) and line.dice == pytest.approx(0.7)
    assert line.change == pytest.approx((0, -0.01))
    # Every case loses the same, however different the cases are.
    assert line.interval[1] == pytest.approx((-0.01, -0.01))
    one = curve(rows, "stage1")
    assert one.cases == 1 and one.dice == 0.9 and one.change == pytest.approx((-0.2,)) and one.interval == (None,)
    assert worst_direction(rows, "reference") == ("left", 8.0, pytest.approx(-0.06))
    low, high = mean_interval([0.0, 0.1, 0.2, 0.3])
    assert 0 <= low < 0.15 < high <= 0.3 and mean_interval([0.1]) is None


def test_rows_come_back_as_they_were_stored(tmp_path: Path) -> None:
    boxes = [box_row(), box_row(case="b", silver=True, need_left=-1.25)]
    store.write_rows(tmp_path / "new" / "boxes.csv", boxes)
    assert store.read_boxes(tmp_path / "new" / "boxes.csv", SITE) == boxes
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["boxes.csv"]
    shifts = [shift_row(), shift_row(direction="left", shift_mm=4.0, dice=0.125)]
    store.write_rows(tmp_path / "shifts.csv", shifts)
    assert store.read_shifts(tmp_path / "shifts.csv", SITE) == shifts
    with pytest.raises(ConfigError, match="nothing to write"):
        store.write_rows(tmp_path / "none.csv", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="boxes.csv cannot be written"):
        store.write_rows(tmp_path / "file" / "boxes.csv", boxes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("brainstem", "heart"), "heart"),
        (("True", "maybe"), "neither True nor False"),
        ((",60,", ",sixty,"), "sixty"),
        ((",60,", ",,"), "no size"),
        (("1,1,60", "1,7,60"), "between 0 and 1"),
        (("section,", "part,"), "expected"),
        ((",ab", ""), "too few"),
        (("training,", "training,b,"), "too few or too many"),
    ],
)
def test_hostile_rows_are_refused(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    store.write_rows(path, [box_row()])
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ConfigError, match=message):
        store.read_boxes(path, SITE)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    for content in (b"\x89PNG\r\n\x1a\n\xff", b"", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="boxes.csv"):
            store.read_boxes(path, SITE)


def test_missing_empty_and_mixed_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run coverage and shift first"):
        store.read_boxes(tmp_path / "none.csv", SITE)
    store.write_rows(tmp_path / "boxes.csv", [box_row()])
    header = (tmp_path / "boxes.csv").read_text().splitlines()[0]
    (tmp_path / "boxes.csv").write_text(header + "\n")
    with pytest.raises(ConfigError, match="no rows"):
        store.read_boxes(tmp_path / "boxes.csv", SITE)
    store.write_rows(tmp_path / "shifts.csv", [shift_row(direction="up")])
    with pytest.raises(ConfigError, match="no such start, direction"):
        store.read_shifts(tmp_path / "shifts.csv", SITE)
    with pytest.raises(ConfigError, match="different weights"):
        store.checked_weights([box_row(), shift_row(weights="cd")], SITE)
    with pytest.raises(ConfigError, match="1x1x1 2x2x2, the table has"):
        store.checked_weights([box_row(rule="1x1x1 2x2x2")], SITE)
