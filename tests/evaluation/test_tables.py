"""What the tables, plots and the page of the worst say of known rows."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from matplotlib import image as png

from oarseg.evaluation.cases import score_case
from oarseg.evaluation.figures import write_box_plots
from oarseg.evaluation.summary import summarize
from oarseg.evaluation.tables import COVERED, failures, failures_markdown, summary_csv, summary_markdown
from oarseg.evaluation.worst import IN_PREDICTION, IN_REFERENCE, disagreeing_level, worst_page, worst_rows
from oarseg.geometry.label_map import LabelMap
from oarseg.inference.report.preview import AXIAL, CORONAL, SAGITTAL, lps_view
from oarseg.sites import load_site

SITE = load_site()
V = SITE.values
LABELLED = ("brainstem", "mandible", "parotid_left", "parotid_right")


@pytest.fixture
def cases(phantom) -> tuple[dict[str, tuple[LabelMap, LabelMap]], list[dict], list[dict]]:
    """Five cases: exact; far off; a missed brainstem; exchanged parotids; a spurious mandible."""
    affine = phantom.lps_affine()
    label = phantom.draw(phantom.shape, affine)[1]
    exchanged = np.where(label == 7, 8, np.where(label == 8, 7, label))
    predictions = {
        "exact": label,
        "far": np.where(label == V["mandible"], 0, label) + np.roll((label == 4) * np.uint8(4), 8, 2) * (label == 0),
        "<missed>": np.where(label == V["brainstem"], 0, label),
        "exchanged": exchanged,
        "spurious": label,
    }
    maps, rows, whole = {}, [], []
    for case, prediction in predictions.items():
        reference = np.where(label == V["mandible"], 0, label) if case == "spurious" else label
        maps[case] = LabelMap(prediction.astype(np.uint8), affine), LabelMap(reference.astype(np.uint8), affine)
        scored, row = score_case(case, maps[case][0].label, maps[case][1].label, affine, LABELLED, SITE)
        rows += scored
        whole.append(row)
    return maps, rows, whole


def test_failures_by_case(cases):
    found = {(case, organ): what for case, organ, what in failures(cases[1])}
    assert found.pop(("<missed>", "brainstem")) == "missed"
    assert found.pop(("spurious", "mandible")) == "spurious"
    assert re.fullmatch(r"2\d mm off, Dice 0\.\d+", found.pop(("far", "mandible")))
    for side in ("left", "right"):
        said = found.pop(("exchanged", f"parotid_{side}"))
        assert said.startswith("left and right exchanged, 1") and said.endswith("Dice 0.000")
    assert not found
    text = failures_markdown(cases[1], ["odd file"], SITE)
    assert "## far\n\n- Bone_Mandible: 2" in text and "## exact" not in text and "- odd file" in text
    assert "None." in failures_markdown([r for r in cases[1] if r["case"] == "exact"], [], SITE)


def test_summary_tables(cases):
    _, rows, whole = cases
    summary = summarize(rows, SITE)
    text = summary_markdown(summary, whole, 2.0, SITE)
    brainstem = next(line for line in text.splitlines() if line.startswith("| Brainstem"))
    assert brainstem.startswith("| Brainstem | 5 | 0.800 ± 0.447 | 1.000 |") and brainstem.endswith("| 1 | 0 | 0 | 0 |")
    total = next(line for line in text.splitlines() if line.startswith("| mean over organs"))
    assert total.endswith("| 1 | 1 | 0 | 2 |")
    assert "surface Dice at 2 mm" in text and "pixel accuracy" in text and "missed" in text
    table = list(csv.DictReader(io.StringIO(summary_csv(summary))))
    assert [row["organ"] for row in table] == [*LABELLED, "mean"]
    assert float(table[0]["dice_mean"]) == 0.8 and table[0]["hd95_mm_left_out"] == "1"
    assert float(table[-1]["dice_mean"]) == pytest.approx(summary.mean["dice"].mean, abs=1e-5)


def test_box_plots_show_every_organ_in_its_colour(cases, tmp_path):
    write_box_plots(tmp_path / "b.png", cases[1], SITE)
    drawn = (png.imread(tmp_path / "b.png")[..., :3] * 255).round().astype(int)
    for key in ("brainstem", "mandible", "parotid_left", "eye_left"):
        there = (np.abs(drawn - SITE.organ(key).color).max(axis=-1) < 4).sum()
        assert (there > 40) == (key != "eye_left"), key


def test_the_worst_come_first(cases):
    chosen = worst_rows(cases[1], 5)
    assert [row["dice"] for row in chosen] == sorted(row["dice"] for row in cases[1])[:5]
    assert {(r["case"], r["organ"]) for r in chosen} >= {("<missed>", "brainstem"), ("spurious", "mandible")}
    assert worst_rows([cases[1][0] | {"dice": None}], 3) == []


def test_the_planes_go_through_the_largest_disagreement():
    both = np.zeros((30, 40, 20), np.uint8)
    both[5:25, 10:30, 4:16] = IN_REFERENCE | IN_PREDICTION
    both[8, 12:28, 15] = IN_PREDICTION
    both[7:10, 31, 15] = IN_REFERENCE
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    view = lps_view(np.zeros(both.shape, np.int16), both, affine)
    assert [disagreeing_level(view, plane) for plane in (SAGITTAL, CORONAL, AXIAL)] == [8, 31, 15]
    agreed = lps_view(np.zeros(both.shape, np.int16), (both > 0) * np.uint8(3), affine)
    assert 4 <= disagreeing_level(agreed, AXIAL) < 16


def test_the_page_needs_nothing_else_and_escapes_names(cases):
    maps, rows, _ = cases
    asked = []

    def load(case):
        asked.append(case)
        return *maps[case], None

    page = worst_page(rows, 5, load, SITE)
    assert page.count("<figure>") == page.count("data:image/png;base64,") == 5
    assert sorted(asked) == sorted(set(asked)) and "exact" not in asked
    assert "&lt;missed&gt;, brainstem</b>: missed<br>Dice 0.000" in page and "<missed>" not in page
    assert "left and right exchanged" in page and "http" not in page.replace("http-equiv", "")
    assert worst_page([], 5, load, SITE).count("<figure>") == 0


def test_the_mean_of_organs_with_enough_cases_has_the_interval(cases):
    _, rows, whole = cases
    rows = [*rows, rows[0] | {"organ": "eye_left", "dice": 0.4}]
    summary = summarize(rows, SITE)
    text = summary_markdown(summary, whole, 2.0, SITE)
    mean, covered = (f"{summary.mean['dice'].mean:.3f}", summary.covered["dice"])
    assert f"| mean over organs | | {mean} | | - |" in text
    assert f"| {COVERED} | | {covered.mean:.3f} | | {covered.low:.3f} to {covered.high:.3f} | | | | | |" in text
    heads = [line.count("|") for line in text.splitlines() if line.startswith("| organ")]
    assert [line.count("|") for line in text.splitlines() if line.startswith(f"| {COVERED}")] == heads
    last = list(csv.DictReader(io.StringIO(summary_csv(summary))))[-2:]
    assert last[0]["dice_low"] == "" and float(last[1]["dice_low"]) == pytest.approx(covered.low, abs=1e-5)
    # Where all organs have enough, one line says it.
    assert COVERED not in summary_markdown(summarize(cases[1], SITE), whole, 2.0, SITE)


def test_names_from_outside_are_printable(cases):
    rows = [r | {"case": "a\nb\udcff"} for r in cases[1] if r["case"] == "far"]
    text = failures_markdown(rows, ["x\x1b[2J\udc80: odd"], SITE)
    assert "## a\\nb\\udcff" in text and "- x\\x1b[2J\\udc80: odd" in text and text.encode("utf-8")
