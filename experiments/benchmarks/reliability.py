"""``docs/reliability.md`` from what is stored of the fault table and of the fuzz run.

python -m experiments.benchmarks.reliability            # writes docs/reliability.md
python -m experiments.benchmarks.reliability --check    # only whether it is what is stored
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from oarseg.files import write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = Path(__file__).resolve().parent / "results", ROOT / "docs" / "reliability.md"

HEAD = """# Reliability

What was tried to make the DICOM node lose something, and which hostile files the readers were given.

**For research use only. oarseg is not a medical device; its contours must not be used to treat patients.**

Written by `python -m experiments.benchmarks.reliability` from `experiments/benchmarks/results`; do not edit."""

NODE = """## Faults of the DICOM node

Each trial runs the real `oarseg serve` as a process, with the real networks (one organ), a CT of 85 slices with new
UIDs, and an archive that takes the results (`python -m experiments.benchmarks.node_faults`).

- *Lost*: acknowledged slices that no delivered RTSTRUCT refers to.
- *Repeated*: results of the same slices with another UID.
- *Failed*: trials that did not end with everything delivered.
- *Memory*: the highest of the node, networks included."""

HOUR = """The hour without a destination is an hour by the clock, with the node's default retries: after 10 s, then
twice as long each time, up to 600 s. The moments of the kills are drawn at random. Sending is killed at both ends:
before and after the destination has the result."""

WHERE = """## What the tests try

These tests run with every change. A test whose peer is not installed is skipped and says so."""

TRIED = (
    ("Orthanc (Debian's) sends a study; RTSTRUCT and SEG come into that study, and their references fit",
     "tests/node/test_peers.py"),
    ("DCMTK's `echoscu`, `storescu` and `storescp`; an association that DCMTK aborts", "tests/node/test_peers.py"),
    ("`kill -9` while the node receives, contours and sends, in one life", "tests/node/test_kill.py"),
    ("objects that are not the announced one, messages and PDUs without end, garbage, slow peers, limits, TLS",
     "tests/node/test_receive.py"),
    ("writes of the node's state that fail; destinations that refuse, or take one encoding only; waits that grow",
     "tests/node/test_deliver.py"),
    ("no room at each step; a series at which the node ends again and again; retention", "tests/node/test_node.py"),
    ("`oarseg batch` killed in the middle and started again, a record cut within a line, a worker that dies",
     "tests/cohort/test_batch.py"),
    ("the readers on damaged and hostile files, the same few each time", "experiments/tests/fuzz/test_fuzz.py"),
)  # fmt: skip

FUZZ = """## Damaged and hostile files

`python -m experiments.benchmarks.fuzz` draws files with [hypothesis](https://hypothesis.readthedocs.io) and gives them
to the readers. It starts from small valid files. It removes or repeats elements, changes their VR, length or value
(empty, NaN, infinite, negative, several, huge), changes, cuts or inserts bytes, and packs the result again with a
checksum that fits. A reader must return a result or raise one `OarsegError`, within 20 s and 3 GiB, and may write to
its output folder only."""

MENDED = """### What was found and mended

Found by *fuzz*: this run or an earlier one; by *reading*: reading the code that such files reach."""


def cells(rows: Iterable[Sequence[object]], head: Sequence[str], numbers: int = 0) -> str:
    """A Markdown table; the last ``numbers`` columns to the right."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * (len(head) - numbers) + "---:|" * numbers]
    return "\n".join(
        [*lines, *(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)]
    )


def made(all_made: Iterable[Mapping]) -> str:
    """Machine, dates and versions of what is in a table, each value once."""
    values: dict[str, dict[str, None]] = {}
    for one in all_made:
        for key, value in one.items():
            values.setdefault(key, {})[str(value)] = None
    listed = {key: ", ".join(sorted(found)) for key, found in values.items()}
    machine = f"{listed.pop('processor')}, {listed.pop('cores')} cores, {listed.pop('system')}"
    date, versions = listed.pop("date"), ", ".join(f"{key} {value}" for key, value in listed.items())
    return f"{machine}, shared with other work; {date}; {versions}."


def faults(content: Mapping) -> str:
    """The table of the node's faults."""
    rows = []
    for row in content["rows"].values():
        trials = row["trials"]
        sums = [sum(trial[key] for trial in trials) for key in ("acknowledged", "lost", "repeated")]
        failed = sum("failed" in trial for trial in trials)
        rows.append([row["fault"], len(trials), *sums, failed, max(trial["peak_mib"] for trial in trials)])
    total = [sum(row[n] for row in rows) for n in range(1, 6)]
    rows.append(["all", *total, max(row[6] for row in rows)])
    head = ["fault", "times", "slices acknowledged", "lost", "repeated", "failed", "memory MiB"]
    return cells(rows, head, 6)


def fuzz(content: Mapping) -> str:
    """The table of the fuzz run."""
    rows = []
    for one in content["targets"].values():
        read = one["outcomes"].get("read", 0)
        minutes = f"{one['seconds'] / 60:.0f}"
        rows.append([one["about"], minutes, one["inputs"], read, one["inputs"] - read, len(one["findings"])])
    return cells(rows, ["reader of", "minutes", "inputs", "read", "refused", "findings left"], 5)


def page(node: Mapping, fuzzed: Mapping) -> str:
    """The whole page from the contents of ``node_faults.json`` and ``fuzz.json``."""
    tried = cells([[what, f"`{place}`"] for what, place in TRIED], ["what", "where"])
    findings = [pair for target in fuzzed["targets"].values() for pair in target["findings"].items()]
    left = ["Left:", "\n".join(f"- {place}: {said}" for place, said in findings)] if findings else []
    keys = ("given", "was", "now", "by")
    mended = cells([[row[key] for key in keys] for row in fuzzed["mended"]], ["given", "was", "now", "found by"])
    nodes, targets = ([row["made"] for row in part.values()] for part in (node["rows"], fuzzed["targets"]))
    parts = [HEAD, NODE, faults(node), made(nodes), HOUR, WHERE, tried]
    parts += [FUZZ, fuzz(fuzzed), made(targets), *left, MENDED, mended]
    return "\n\n".join(parts) + "\n"


def stored() -> str:
    """The page of what is stored."""
    contents = (json.loads((RESULTS / name).read_text(encoding="utf-8")) for name in ("node_faults.json", "fuzz.json"))
    return page(*contents)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where the page is not what is stored")
    args = parser.parse_args()
    text = stored()
    if args.check:
        same = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name} {'is' if same else 'is not'} what the stored results say")
        return 0 if same else 1
    write_text(PAGE, text)
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
