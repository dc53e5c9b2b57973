"""Faults of the node's machine, its destination and its senders: one function a row, its docstring the row's name.

``node_faults.py`` runs them. Each gets a :class:`node_bench.Bench` with a running node, and leaves with all that was
acknowledged delivered; an AssertionError where the node does not do what it should.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.node_bench import Bench, new_ct, references, wait_for


class NotHere(Exception):
    """A row that cannot be tried on this machine."""


def kill_receive(bench: Bench) -> None:
    """kill -9 while a series comes in"""
    slices = new_ct()
    sender = threading.Thread(target=bench.send, args=(slices,))
    sender.start()
    wait_for(lambda: len(bench.acked.get(slices[0].SeriesInstanceUID, ())) >= random.randint(5, 60), 120)
    bench.kill()
    sender.join()
    # The acknowledged ones are not sent again.
    bench.start()
    bench.send_all(slices)
    bench.settle(1)
    assert len(references(bench.got[-1])) == len(slices)


def kill_inference(bench: Bench) -> None:
    """kill -9 while a series is contoured"""
    bench.send_all(new_ct())
    wait_for(lambda: "segmenting" in bench.states(), 120)
    time.sleep(random.uniform(0.0, 0.8))
    bench.kill()
    bench.start()
    bench.settle(1)


def kill_send(bench: Bench) -> None:
    """kill -9 after the destination has the result, before it has answered"""
    bench.hold = 10.0
    bench.send_all(new_ct())
    wait_for(lambda: bench.got, 240)
    bench.kill()
    bench.hold = 0.0
    bench.start()
    bench.settle(1)
    assert len(bench.got) == 2


def kill_connect(bench: Bench) -> None:
    """kill -9 while the destination is asked to take the result, before it has it"""
    bench.hold_association = 10.0
    bench.send_all(new_ct())
    wait_for(lambda: bench.requested, 240)
    time.sleep(random.uniform(0.0, 1.0))
    bench.kill()
    assert not bench.got
    bench.hold_association = 0.0
    bench.start()
    bench.settle(1)
    assert len(bench.got) == 1


def kill_any(bench: Bench) -> None:
    """kill -9 five times at moments of chance, sending and all"""
    slices = new_ct()
    for _ in range(5):
        sender = threading.Thread(target=bench.send, args=(bench.missing(slices),))
        sender.start()
        time.sleep(random.uniform(0.1, 3.5))
        bench.kill()
        sender.join()
        bench.start()
    bench.send_all(slices)
    # Parts of a series may be contoured, or refused, on the way; the whole of it is delivered in the end.
    under_way = {"receiving", "waiting", "segmenting", "sending"}
    wait_for(lambda: (s := bench.states()) and s[-1] == "delivered" and not under_way & set(s), 300)
    assert len(references(bench.got[-1])) == len(slices)


def destination_down(bench: Bench) -> None:
    """destination down at first, the node restarted meanwhile"""
    bench.close_archive()
    bench.send_all(new_ct())
    wait_for(lambda: "sending" in bench.states(), 240)
    time.sleep(2)
    assert bench.end() == 0
    bench.start()
    bench.open_archive()
    bench.settle(1)


def hour_down(bench: Bench) -> None:
    """destination down for the first hour, by the clock; half-way kill -9, a start, and a second series"""
    bench.end()
    bench.close_archive()
    # As the node does where nothing is set.
    bench.retry = (10, 600)
    bench.start()
    bench.send_all(new_ct())
    wait_for(lambda: "sending" in bench.states(), 240)
    time.sleep(bench.hour / 2)
    bench.kill()
    bench.start()
    bench.send_all(new_ct())
    time.sleep(bench.hour / 2)
    assert not bench.got and bench.states() == ["sending"] * 2
    bench.open_archive()
    bench.settle(2, bench.retry[1] + 60)


@contextlib.contextmanager
def small_disk(bench: Bench, size: str) -> Iterator[Path]:
    """The node, ended before, gets a spool on a file system of its own. Raises NotHere where none can be mounted."""
    bench.end()
    bench.spool = "small"
    small = bench.folder / "small"
    small.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", small], capture_output=True, check=False
    ).returncode  # fmt: skip
    if not mounted:
        raise NotHere("no small file system can be mounted")
    try:
        yield small
    finally:
        bench.kill()
        subprocess.run(["umount", small], check=True)


def disk_full(bench: Bench) -> None:
    """disk full while a series comes in (tmpfs of 2 MiB), then space again"""
    with small_disk(bench, "2m") as small:
        bench.quiet = 8
        bench.start()
        slices = new_ct()
        # Room for a few slices more.
        filler = small / "filler"
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small).free - (200 << 10))))
        statuses = bench.send(slices)
        assert 0 in statuses and 0xA700 in statuses, statuses
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=200m", small], check=True)
        bench.send_all(slices)
        bench.settle(1)


def disk_full_results(bench: Bench) -> None:
    """disk full when a series is contoured and its result written (tmpfs of 64 MiB), for 15 s, then space again"""
    with small_disk(bench, "64m") as small:
        bench.quiet = 3
        bench.start()
        bench.send_all(new_ct())
        filler = small / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        assert shutil.disk_usage(small).free < 4096
        time.sleep(15)
        assert not bench.got and bench.states()[-1:] != ["failed"], bench.states()
        log = (bench.folder / "node.log").read_text()
        assert "no space" in log or "cannot be written" in log
        filler.unlink()
        bench.settle(1)


def headroom(bench: Bench) -> None:
    """less space left on the disk than asked for"""
    bench.end()
    bench.free = 1e6
    bench.start()
    slices = new_ct()
    statuses = bench.send(slices)
    assert set(statuses) == {0xA700}, set(statuses)
    bench.end()
    bench.free = 0.0
    bench.start()
    bench.send_all(slices)
    bench.settle(1)


def twice(bench: Bench) -> None:
    """the same series sent twice, and again after delivery"""
    slices = new_ct()
    bench.send_all(slices)
    # Nothing of it is missing, so that each slice comes once more.
    assert set(bench.send(slices)) == {0}
    bench.settle(1)
    assert set(bench.send(slices)) == {0}
    time.sleep(bench.quiet + 1.5)
    bench.settle(1)


def interleaved(bench: Bench) -> None:
    """two series interleaved, over two associations"""
    one, two = new_ct(), new_ct()
    first, second = bench.associate(), bench.associate()
    for n, (a, b) in enumerate(zip(one, two, strict=True)):
        bench.store(first if n % 2 else second, a)
        bench.store(second if n % 2 else first, b)
    first.release()
    second.release()
    bench.settle(2)


def aborted(bench: Bench) -> None:
    """an association aborted half-way, the rest sent after it"""
    slices = new_ct()
    assoc = bench.associate()
    for one in slices[: len(slices) // 2]:
        bench.store(assoc, one)
    assoc.abort()
    bench.send_all(slices)
    bench.settle(1)


ROWS = (
    kill_receive, kill_inference, kill_connect, kill_send, kill_any, destination_down, hour_down, disk_full,
    disk_full_results, headroom, twice, interleaved, aborted,
)  # fmt: skip
