"""Feed damaged and hostile files to the readers, for as long as you like, and keep the files that fail.

    python -m experiments.benchmarks.fuzz [--target NAME,NAME] [--seconds 600] [--seed 1] [--store [FILE]]
    python -m experiments.benchmarks.fuzz --inputs 50

The property: a reader gives a result or raises one OarsegError, within 20 s and 3 GiB, and writes to its output folder
only. Inputs are drawn by hypothesis, which also shrinks what fails; the shrunk files are put into the folder of
failures, one folder a finding. The same seed draws the same inputs. Needs pip install 'oarseg[test]'.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from experiments.benchmarks.fuzz_targets import TARGETS, Target
from experiments.benchmarks.made import made
from oarseg.files import write_json

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
ROOT = Path(__file__).resolve().parents[2]
ROUND = 300
# A call into C that never comes back hears no signal: the whole run ends then, with a traceback.
STUCK_SECONDS = 300


def fresh(work: Path) -> Path:
    """The work folder, empty but for ``in`` and ``out``."""
    shutil.rmtree(work, ignore_errors=True)
    for part in ("in", "out"):
        (work / part).mkdir(parents=True)
    return work


class Run:
    """One target: ``outcomes`` by kind, ``findings`` by place, until ``seconds`` are over or ``inputs`` are drawn."""

    def __init__(self, target: Target, seconds: float, seed: int, failures: Path, inputs: int | None = None) -> None:
        self.target, self.seconds, self.seed, self.failures, self.inputs = target, seconds, seed, failures, inputs
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.findings: dict[str, str] = {}
        self.began = time.monotonic()

    def go(self, work: Path) -> None:
        """Rounds of ``ROUND`` examples, each with a seed of its own; one round where the inputs are counted."""
        number, last_report = self.seed, time.monotonic()
        while time.monotonic() - self.began < self.seconds:
            number += 1
            try:
                self._round(number, work)
            except BaseException as error:  # noqa: BLE001 - whatever a reader lets through is a finding
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                self._keep(error, number, work)
            if time.monotonic() - last_report > 30:
                last_report = time.monotonic()
                self._report()
            if self.inputs is not None:
                break
        self._report()

    def _round(self, number: int, work: Path) -> None:
        def one(drawn: object) -> None:
            if time.monotonic() - self.began > self.seconds + 60:
                return
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            try:
                self.outcomes[self.target.read(drawn, fresh(work))] += 1
            finally:
                faulthandler.cancel_dump_traceback_later()

        phases = [Phase.generate, Phase.target, Phase.shrink]
        rules = settings(
            max_examples=self.inputs or ROUND, deadline=None, database=None, phases=phases, print_blob=False,
            report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seeded(number)(rules(given(self.target.draw)(one)))()

    def _keep(self, error: BaseException, number: int, work: Path) -> None:
        """Note a finding; the shrunk input, which ran last, lies in the work folder."""
        frames = traceback.extract_tb(error.__traceback__)
        last = [f for f in frames if Path(f.filename).is_relative_to(ROOT) and "site-packages" not in f.filename][-1]
        place = f"{type(error).__name__} at {Path(last.filename).parent.name}/{Path(last.filename).name}:{last.lineno}"
        if place in self.findings:
            return
        self.findings[place] = " ".join(str(error).replace(str(work), "work").split())[:120]
        kept = self.failures / f"{self.target.name}-{len(self.findings)}-{type(error).__name__}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(work / "in", kept)
        (kept / "traceback.txt").write_text(f"seed {number}\n" + "".join(traceback.format_exception(error)))
        print(f"{self.target.name}: {place}: {self.findings[place]} -> {kept}", file=sys.stderr, flush=True)

    def _report(self) -> None:
        """Print the counts so far."""
        done, spent = sum(self.outcomes.values()), time.monotonic() - self.began
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.outcomes.most_common())
        text = f"{self.target.name}: {spent:.0f} s, {done} files ({kinds}), {len(self.findings)} findings"
        print(text, file=sys.stderr, flush=True)

    def record(self) -> dict:
        """Return the run as it is stored."""
        return {
            "about": self.target.about, "made": made(("oarseg", "hypothesis", "pydicom", "numpy")), "seed": self.seed,
            "seconds": round(time.monotonic() - self.began), "inputs": sum(self.outcomes.values()),
            "outcomes": dict(self.outcomes.most_common()), "findings": self.findings,
        }  # fmt: skip


def store(path: Path, found: dict[str, dict]) -> None:
    """Put the outcome of targets in the place of earlier ones; what was found and mended before stays."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"targets": {}, "mended": []}
    both = content["targets"] | found
    content["targets"] = {name: both[name] for name in TARGETS if name in both}
    write_json(path, content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", metavar="A,B", help=f"of {', '.join(TARGETS)} (default: all, one after another)")
    parser.add_argument("--seconds", type=float, default=600, help="for each target (default: 600)")
    parser.add_argument("--inputs", type=int, metavar="N", help="so many files for each target, the same each time")
    parser.add_argument("--seed", type=int, default=1, help="where the drawing begins (default: 1)")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="folder for what fails")
    parser.add_argument(
        "--store", type=Path, nargs="?", const=RESULTS, metavar="FILE", help=f"note the outcome (in {RESULTS})"
    )
    args = parser.parse_args()
    chosen = args.target.split(",") if args.target else list(TARGETS)
    if unknown := set(chosen) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    bad = 0
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="oarseg-fuzz-", dir=shared if shared.is_dir() else None) as folder:
        for name in chosen:
            run = Run(TARGETS[name], args.seconds, args.seed, args.failures, args.inputs)
            run.go(Path(folder) / "work")
            bad += len(run.findings)
            if args.store:
                store(args.store, {name: run.record()})
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
