"""``docs/reliability.md`` is what the stored results say, and they say that nothing was lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.benchmarks import reliability

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_is_what_is_stored() -> None:
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.stored()


def test_nothing_was_lost() -> None:
    rows = json.loads((reliability.RESULTS / "node_faults.json").read_text(encoding="utf-8"))["rows"]
    for name, row in rows.items():
        assert row["trials"], name
        for trial in row["trials"]:
            assert trial["acknowledged"] > 0 and not trial["lost"] and not trial["repeated"], (name, trial)
            assert "failed" not in trial, (name, trial)


def test_every_fault_is_in_the_table() -> None:
    pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")
    from experiments.benchmarks import node_faults

    rows = json.loads((reliability.RESULTS / "node_faults.json").read_text(encoding="utf-8"))["rows"]
    assert {name: row["fault"] for name, row in rows.items()} == {row.__name__: row.__doc__ for row in node_faults.ROWS}


def test_what_the_page_names_exists() -> None:
    for _, place in reliability.TRIED:
        assert (ROOT / place).is_file(), place


def test_what_failed_shows() -> None:
    trial = {"acknowledged": 85, "lost": 3, "repeated": 1, "seconds": 1.0, "peak_mib": 200}
    made = {"date": "2026-01-01", "processor": "X", "cores": 2, "system": "Linux", "oarseg": "0.1.0"}
    row = {"fault": "a fault", "made": made, "trials": [trial, trial | {"failed": "why", "peak_mib": 300}]}
    target = {
        "about": "files", "made": made, "seconds": 120, "inputs": 10, "outcomes": {"read": 4, "InputError": 6},
        "findings": {"KeyError at a.py:1": "why"},
    }  # fmt: skip
    text = reliability.page({"rows": {"one": row}}, {"targets": {"files": target}, "mended": []})
    assert "| a fault | 2 | 170 | 6 | 2 | 1 | 300 |" in text and "| files | 2 | 10 | 4 | 6 | 1 |" in text
    assert "- KeyError at a.py:1: why" in text and "X, 2 cores, Linux, shared with other work; 2026-01-01;" in text
