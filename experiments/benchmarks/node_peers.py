"""Faults that peers bring: many at once, another modality, garbage, slow ones, PDUs and messages without end.

One function a row, its docstring the row's name; see ``node_machine.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage
from pynetdicom.sop_class import CTImageStorage

from experiments.benchmarks.node_bench import Bench, new_ct, wait_for


def many(bench: Bench) -> None:
    """200 associations at once, 20 allowed; who is rejected tries again"""
    slices = (new_ct() * 3)[:200]

    def one(slice_: Dataset) -> None:
        until = time.monotonic() + 300
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


def many_open(bench: Bench) -> None:
    """200 associations open at the same time, 220 allowed; each sends a slice"""
    bench.end()
    bench.associations, bench.idle, bench.quiet = 220, 240, 3
    bench.start()
    slices = (new_ct() * 3)[:200]
    with ThreadPoolExecutor(50) as pool:
        opened = list(pool.map(lambda _: bench.associate(patience=240), slices))
    taken = sum(assoc.is_established for assoc in opened)
    assert taken == 200, f"{taken} associations of 200"

    def store(assoc, slice_: Dataset) -> int | None:
        status = bench.store(assoc, slice_)
        assoc.release()
        return status

    # A few at a time: the threads of 200 open associations keep the processor busy on this side, too.
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(store, opened, slices))
    assert set(statuses) == {0}, sorted(map(str, set(statuses)))
    bench.settle(1)


def silent(bench: Bench) -> None:
    """20 peers take all associations and then say nothing; idle_seconds is 30"""
    bench.end()
    bench.idle = 30
    bench.start()
    # The look whether the node listens was a connection, too; it counts until it is given up.
    time.sleep(bench.idle + 2)
    held = [bench.associate(patience=600) for _ in range(bench.associations)]
    assert all(assoc.is_established for assoc in held)
    slices = new_ct()
    assert bench.send(slices) == []
    # The node ends them after ``idle_seconds``.
    wait_for(lambda: bench.send(bench.missing(slices)), 20 * bench.idle)
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
        bench.send_all(new_ct())
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


def oversized_message(bench: Bench) -> None:
    """an instance of 17 MiB, and one of 40, where 16 are allowed"""
    slices = new_ct()
    statuses = []
    for mib in (17, 40):
        assoc = bench.associate(((CTImageStorage, ExplicitVRLittleEndian),))
        large = Dataset()
        large.file_meta = FileMetaDataset()
        large.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        large.SOPClassUID, large.SOPInstanceUID = CTImageStorage, slices[0].SOPInstanceUID
        large.SeriesInstanceUID = slices[0].SeriesInstanceUID
        large.add_new("PixelData", "OW", bytes(mib << 20))
        statuses.append(bench.store(assoc, large))
        if assoc.is_established:
            assoc.release()
    assert statuses == [0xA700, None], statuses
    bench.send_all(slices)
    bench.settle(1)


def garbage_after(bench: Bench) -> None:
    """garbage bytes from 5 peers whose association was taken"""
    peers = [bench.associate() for _ in range(5)]
    assert all(assoc.is_established for assoc in peers)
    for assoc in peers:
        with contextlib.suppress(OSError):
            assoc.dul.socket.socket.sendall(os.urandom(50_000))
    bench.send_all(new_ct())
    bench.settle(1)


ROWS = (
    many, many_open, other_modality, garbage, garbage_after, slow, silent, oversized, oversized_message,
)  # fmt: skip
