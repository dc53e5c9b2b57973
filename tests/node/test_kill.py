"""``oarseg serve`` as a process with the real networks, killed while it receives, contours and sends."""

from __future__ import annotations

import sys
import threading
import time

import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from experiments.benchmarks import node_bench


@pytest.fixture
def bench():
    with node_bench.running() as made:
        made.module = node_bench
        # From the second start on; the first one is killed before a series is whole.
        made.quiet = 0.5
        yield made


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_kill_9_loses_nothing_and_repeats_nothing(bench):
    # As many as the mandible needs.
    slices, wait_for = bench.module.new_ct()[30:70], bench.module.wait_for
    sender = threading.Thread(target=bench.send, args=(slices, 10))
    sender.start()
    wait_for(lambda: len(bench.acked.get(slices[0].SeriesInstanceUID, ())) >= 15, 60)
    bench.kill()
    sender.join()
    acknowledged = len(bench.acked[slices[0].SeriesInstanceUID])
    assert 15 <= acknowledged < len(slices)
    # What was acknowledged is not sent again.
    bench.start()
    assert set(bench.send(bench.missing(slices))) == {0}
    wait_for(lambda: "segmenting" in bench.states(), 60)
    time.sleep(0.1)
    bench.kill()
    assert bench.states() == ["segmenting"] and not bench.got
    bench.hold = 3.0
    bench.start()
    wait_for(lambda: bench.got, 120)
    bench.kill()
    bench.hold = 0.0
    assert bench.states() == ["sending"]
    bench.start()
    bench.settle(1)
    # Sent again, as the archive's answer never came: the same object, of all slices.
    assert len(bench.got) == 2 and bench.got[0].SOPInstanceUID == bench.got[1].SOPInstanceUID
    assert bench.module.references(bench.got[1]) == {one.SOPInstanceUID for one in slices}
    assert bench.lost() == 0 and bench.repeated() == 0
    # A request to end is obeyed; a new start finds nothing to do.
    assert bench.end() == 0
    bench.start()
    time.sleep(1)
    assert len(bench.got) == 2 and bench.states() == ["delivered"]
