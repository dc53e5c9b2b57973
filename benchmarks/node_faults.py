"""What ``oarseg serve`` loses and repeats when things go wrong: a table, one fault a row.

    python benchmarks/node_faults.py [--times 3] [--only NAME,NAME] [--out FILE]

Each trial runs the real command with the real networks (one organ) on a new copy of the embedded CT, with new UIDs, and
an archive to send to; the node is killed with SIGKILL where a row says so. Lost: slices that were acknowledged but that
no delivered RTSTRUCT refers to. Repeated: RTSTRUCTs of the same slices under another SOPInstanceUID. Needs
pip install 'oarseg[node]'; a row that cannot be tried here is left out, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from node_bench import Bench, new_ct, references, running, wait_for
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage
from pynetdicom.sop_class import CTImageStorage


class NotHere(Exception):
    """A row that cannot be tried on this machine."""


# The rows.


def kill_receive(bench: Bench) -> None:
    """kill -9 while a series comes in"""
    slices = new_ct()
    sender = threading.Thread(target=bench.send, args=(slices,))
    sender.start()
    wait_for(lambda: len(bench.acked.get(slices[0].SeriesInstanceUID, ())) >= random.randint(5, 60), 30)
    bench.kill()
    sender.join()
    # The acknowledged ones are not sent again.
    bench.start()
    bench.send(bench.missing(slices))
    bench.settle(1)
    assert len(references(bench.got[-1])) == len(slices)


def kill_inference(bench: Bench) -> None:
    """kill -9 while a series is contoured"""
    bench.send(new_ct())
    wait_for(lambda: "segmenting" in bench.states(), 30)
    time.sleep(random.uniform(0.0, 0.8))
    bench.kill()
    bench.start()
    bench.settle(1)


def kill_send(bench: Bench) -> None:
    """kill -9 after the destination has the result, before it has answered"""
    bench.hold = 3.0
    bench.send(new_ct())
    wait_for(lambda: bench.got, 60)
    bench.kill()
    bench.hold = 0.0
    bench.start()
    bench.settle(1)
    assert len(bench.got) == 2


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
    bench.send(bench.missing(slices))
    # Parts of a series may be contoured, or refused, on the way; the whole of it is delivered in the end.
    under_way = {"receiving", "waiting", "segmenting", "sending"}
    wait_for(lambda: (s := bench.states()) and s[-1] == "delivered" and not under_way & set(s), 120)
    assert len(references(bench.got[-1])) == len(slices)


def destination_down(bench: Bench) -> None:
    """destination down at first, the node restarted meanwhile"""
    bench.close_archive()
    bench.send(new_ct())
    wait_for(lambda: "sending" in bench.states(), 60)
    time.sleep(2)
    assert bench.end() == 0
    bench.start()
    bench.open_archive()
    bench.settle(1)


def disk_full(bench: Bench) -> None:
    """disk full while a series comes in (tmpfs of 2 MiB), then space again"""
    bench.end()
    bench.spool = "small"
    small = bench.folder / "small"
    small.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", small], capture_output=True, check=False
    ).returncode  # fmt: skip
    if not mounted:
        raise NotHere("no small file system can be mounted")
    try:
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
        assert set(bench.send(bench.missing(slices))) == {0}
        bench.settle(1)
    finally:
        bench.kill()
        subprocess.run(["umount", small], check=True)


def headroom(bench: Bench) -> None:
    """less space left on the disk than asked for"""
    bench.end()
    bench.free = 1e6
    bench.start()
    slices = new_ct()
    assert set(bench.send(slices)) == {0xA700}
    bench.end()
    bench.free = 0.0
    bench.start()
    bench.send(slices)
    bench.settle(1)


def twice(bench: Bench) -> None:
    """the same series sent twice, and again after delivery"""
    slices = new_ct()
    bench.send(slices)
    bench.send(slices)
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
    bench.send(bench.missing(slices))
    bench.settle(1)


def many(bench: Bench) -> None:
    """200 associations at once, 20 allowed; who is rejected tries again"""
    slices = (new_ct() * 3)[:200]

    def one(slice_: Dataset) -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until and bench.send([slice_]) != [0]:
            time.sleep(random.uniform(0.2, 1.0))

    bench.quiet = 6
    bench.end()
    bench.start()
    threads = [threading.Thread(target=one, args=(slice_,)) for slice_ in slices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bench.missing(slices)
    bench.settle(1)


def other_modality(bench: Bench) -> None:
    """MR images offered beside the CT"""
    assoc = bench.associate(((CTImageStorage, JPEG2000Lossless), (MRImageStorage, ExplicitVRLittleEndian)))
    assert [c.abstract_syntax for c in assoc.rejected_contexts] == [MRImageStorage]
    for one in new_ct():
        bench.store(assoc, one)
    assoc.release()
    bench.settle(1)


def hostile(bench: Bench, send: Callable[[socket.socket], None]) -> None:
    """What a peer on the port does, while a series comes in."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", bench.port), 10))
            threading.Thread(target=_quietly, args=(send, sock), daemon=True).start()
        assert set(bench.send(new_ct())) == {0}
        bench.settle(1)


def _quietly(send: Callable[[socket.socket], None], sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        send(sock)


def garbage(bench: Bench) -> None:
    """garbage bytes on the port, from 10 peers"""
    hostile(bench, lambda sock: sock.sendall(os.urandom(100_000)))


def slow(bench: Bench) -> None:
    """10 peers that send a byte of their request every 0.2 s"""

    def drip(sock: socket.socket) -> None:
        for byte in struct.pack(">BBL", 1, 0, 500) + bytes(500):
            sock.send(bytes([byte]))
            time.sleep(0.2)

    hostile(bench, drip)


def oversized(bench: Bench) -> None:
    """PDUs that claim 4 GiB, from 10 peers"""
    hostile(bench, lambda sock: sock.sendall(struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + bytes(5 << 20)))


ROWS = (
    kill_receive, kill_inference, kill_send, kill_any, destination_down, disk_full, headroom, twice, interleaved,
    aborted, many, other_modality, garbage, slow, oversized,
)  # fmt: skip


def trial(row: Callable[[Bench], None]) -> tuple[int, int, int]:
    """Slices acknowledged, lost; results repeated. Raises AssertionError where the node does not do what it should."""
    with running() as made:
        row(made)
        return sum(map(len, made.acked.values())), made.lost(), made.repeated()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="trials of each fault (default: 3)")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(row.__name__ for row in ROWS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of chance")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table (Markdown) here")
    args = parser.parse_args()
    random.seed(args.seed)
    wanted = args.only.split(",") if args.only else [row.__name__ for row in ROWS]
    lines = ["| fault | times | slices acknowledged | lost | results repeated |", "|---|---:|---:|---:|---:|"]
    bad = 0
    for row in (r for r in ROWS if r.__name__ in wanted):
        began = time.monotonic()
        try:
            found = [trial(row) for _ in range(args.times)]
        except NotHere as error:
            print(f"{row.__name__}: left out, {error}", file=sys.stderr, flush=True)
            continue
        except AssertionError as error:
            bad += 1
            lines.append(f"| {row.__doc__} | {args.times} | | it did not recover | |")
            print(f"{row.__name__}: {error}", file=sys.stderr, flush=True)
            continue
        acked, lost, repeated = (sum(part) for part in zip(*found, strict=True))
        bad += lost + repeated
        lines.append(f"| {row.__doc__} | {args.times} | {acked} | {lost} | {repeated} |")
        print(f"{lines[-1]}  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
