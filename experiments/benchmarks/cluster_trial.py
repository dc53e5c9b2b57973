"""``oarseg batch --address`` on a Ray cluster of several machines, some of which fail: what is lost, what is said.

    sudo .venv/bin/python -m experiments.benchmarks.cluster_trial [--machines 3] [--cases 9] [ROW ...]

The machines are namespaces on this computer (see ``cluster_trial_machines.py``), one processor each; the first is the
cluster's head and runs the command. Linux, root and ``ip`` are needed. The CTs are copies of the embedded one. Prints a
row a trial: the exit code, cases in whole folders, and how many each machine contoured; or the error, as it was said.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import oarseg._version
from experiments.benchmarks.cluster_trial_machines import Machine, machines, wait_for
from experiments.benchmarks.cohort_rate import copies
from oarseg.cohort.journal import DONE, JOURNAL, OWN_FILES

PORT = 6379
PATIENCE = 600
RAYLET = "raylet"


class Trial:
    """A cluster and a cohort in ``folder``, which all ``machines`` see."""

    def __init__(self, folder: Path, made: list[Machine], cases: int) -> None:
        self.machines, self.cases = made, cases
        self.source, self.out, self.log = copies(folder / "in", cases), folder / "out", folder / "log"
        self.address = f"{made[0].address}:{PORT}"
        self.seconds = 0.0
        # Whoever has the token can run programs on the cluster; nobody else can.
        (folder / "token").write_text(secrets.token_hex(32))
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(folder / "token"), RAY_USAGE_STATS_ENABLED="0")

    def ray(self, machine: Machine, *arguments: str) -> None:
        """``ray start`` on a machine that gives one processor."""
        own = ["--node-ip-address", machine.address, "--num-cpus", "1", "--object-store-memory", "100000000"]
        machine.do(sys.executable, "-m", "ray.scripts.scripts", "start", *own, *arguments)

    def assemble(self) -> None:
        """The cluster of all machines."""
        head, *others = self.machines
        self.ray(head, "--head", "--port", str(PORT), "--include-dashboard", "false")
        for machine in others:
            self.ray(machine, "--address", self.address)

    def batch(self, address: str = "auto", meanwhile: Callable[[], None] = lambda: None) -> int:
        """The command on the head; its exit code. ``meanwhile``: done while it runs."""
        command = [sys.executable, "-m", "oarseg.cli", "batch", str(self.source), "-o", str(self.out)]
        command += ["--address", address, "--organs", "brainstem", "--device", "cpu", "-q"]
        began = time.monotonic()
        with open(self.log, "wb") as log:
            running = self.machines[0].start(*command, stdout=log, stderr=log, cwd=self.source)
        try:
            meanwhile()
            return running.wait(PATIENCE)
        finally:
            self.seconds = time.monotonic() - began
            running.kill()

    def rows(self) -> list[dict]:
        """What the journal says so far."""
        path = self.out / JOURNAL
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_second(self, machine: Machine) -> None:
        """Until a machine has contoured a CT; it has been given its next one by then."""
        wait_for(lambda: any(row.get("machine") == machine.name for row in self.rows()), PATIENCE)

    def outcome(self, code: int) -> str:
        """A line about what came out; an error as it was said. Raises RuntimeError where cases were lost."""
        done = [row for row in self.rows() if row["status"] == DONE]
        whole = [p for p in self.out.iterdir() if p.is_dir() and (p / "report.json").is_file()] if done else []
        share = Counter(row["machine"] for row in done)
        line = f"exit code {code} after {self.seconds:.0f} s, {len(whole)} of {self.cases} cases"
        if code in (0, 1):
            left = {p.name for p in self.out.iterdir() if not p.is_dir() or p.name.startswith(".")} - set(OWN_FILES)
            if len(whole) != self.cases or len(done) != self.cases or left:
                raise RuntimeError(f"{line}; done {len(done)}, left {sorted(left)}; {self.log.read_text()}")
            return f"{line}: " + ", ".join(f"{n} on {name}" for name, n in sorted(share.items()))
        return f"{line}\n    " + self.log.read_text().strip().splitlines()[-1]


def all_work(trial: Trial) -> int:
    """all machines work, --address auto"""
    return trial.batch()


def by_address(trial: Trial) -> int:
    """all machines work, --address HOST:PORT"""
    return trial.batch(trial.address)


def raylet_killed(trial: Trial) -> int:
    """kill -9 of a machine's raylet while it contours"""

    def meanwhile() -> None:
        trial.wait_for_second(trial.machines[-1])
        trial.machines[-1].kill(RAYLET)

    return trial.batch(meanwhile=meanwhile)


def switched_off(trial: Trial) -> int:
    """a machine is switched off while it contours"""

    def meanwhile() -> None:
        trial.wait_for_second(trial.machines[-1])
        trial.machines[-1].switch_off()

    return trial.batch(meanwhile=meanwhile)


def cable_pulled(trial: Trial) -> int:
    """a machine's cable is pulled while it contours"""

    def meanwhile() -> None:
        trial.wait_for_second(trial.machines[-1])
        trial.machines[-1].pull_cable()

    return trial.batch(meanwhile=meanwhile)


def another_version(trial: Trial) -> int:
    """a machine has another version of oarseg"""
    other = trial.source.parent / "other_version.py"
    other.write_text('__version__ = "0.0.9"\n')
    trial.machines[-1].do("mount", "--bind", str(other), oarseg._version.__file__)
    return trial.batch()


def input_unseen(trial: Trial) -> int:
    """a machine does not see the input"""
    trial.machines[-1].do("mount", "-t", "tmpfs", "none", str(trial.source))
    return trial.batch()


def output_unseen(trial: Trial) -> int:
    """a machine does not see the output"""
    trial.out.mkdir()
    trial.machines[-1].do("mount", "-t", "tmpfs", "none", str(trial.out))
    return trial.batch()


def not_installed(trial: Trial) -> int:
    """a machine has no oarseg"""
    trial.machines[-1].do("mount", "-t", "tmpfs", "none", str(Path(oarseg._version.__file__).parent))
    return trial.batch()


def no_token(trial: Trial) -> int:
    """the command has another token than the cluster"""
    (trial.source.parent / "other_token").write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(trial.source.parent / "other_token")
    return trial.batch()


def no_cluster(trial: Trial) -> int:
    """there is no cluster at the address"""
    return trial.batch(f"{trial.machines[-1].address}:{PORT + 1}")


ROWS = (
    all_work, by_address, raylet_killed, switched_off, cable_pulled, another_version, not_installed, input_unseen,
    output_unseen, no_token, no_cluster,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.__name__ for row in ROWS]
    parser.add_argument("rows", metavar="ROW", nargs="*", help=f"only these: {', '.join(names)}")
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--cases", type=int, default=9)
    args = parser.parse_args()
    if unknown := set(args.rows) - set(names):
        parser.error(f"no row {min(unknown)}; there are {', '.join(names)}")
    # A request to end cleans up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for row in ROWS:
        if args.rows and row.__name__ not in args.rows:
            continue
        # Not below /tmp, of which each machine has its own.
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="oarseg-cluster-") as folder:
            try:
                with machines(args.machines) as made:
                    trial = Trial(Path(folder), made, args.cases)
                    trial.assemble()
                    line = trial.outcome(row(trial))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{row.__doc__}: {error}", file=sys.stderr)
                return 1
        print(f"{row.__doc__}: {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
