"""Sending: destinations that are down, refuse, or take one encoding only; and a state that cannot be written."""

from __future__ import annotations

import json
import threading
import time

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from oarseg.identity import uid_hash
from oarseg.node.retention import DAY, keep_to

pytestmark = pytest.mark.slow


def test_a_state_that_cannot_be_written_is_tried_again(site, tools, monkeypatch):
    import sqlite3

    from oarseg.node import loop

    monkeypatch.setattr(loop, "AFTER_ERROR_SECONDS", 0.2)
    # Longer than it takes to send again.
    site.over = {"node": {"quiet_seconds": 1}}
    node = site.start()

    def once(name: str) -> None:
        real = getattr(node.spool.state, name)

        def fails(*values):
            monkeypatch.setattr(node.spool.state, name, real)
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(node.spool.state, name, fails)

    for name in ("contoured", "end_delivery", "add_instance", "complete"):
        once(name)
    slices = tools.ct_slices(3)
    assert site.send(slices) == [0xA700, 0, 0]
    assert site.send(slices[:1]) == [0]
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    # Contoured twice, sent twice, one object.
    assert site.segmenter.calls == [3, 3] and len(site.archive.uids) == 2 and len(set(site.archive.uids)) == 1


def test_a_destination_that_is_down_gets_it_later_and_only_once(site, tools):
    site.archive.stop()
    node = site.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: node.counters.values["send_failures"] >= 2)
    site.stop(node)
    # The wait is on disk: a restart goes on with it.
    again = site.start()
    assert site.totals(again) == {"sending": 1}
    site.archive.start()
    tools.wait_for(lambda: site.totals(again) == {"delivered": 1})
    assert len(site.archive.uids) == 1 and site.segmenter.calls == [3]


def test_waits_grow_to_the_longest(site, tools):
    site.archive.stop()
    site.over = {"delivery": {"first_retry_seconds": 100, "longest_retry_seconds": 350}}
    node = site.start()
    site.send(tools.ct_slices(3))
    sender, state = node.senders[0], node.spool.state
    # Counted before it is on disk.
    tools.wait_for(lambda: state._rows("select attempts from delivery") == [(1,)])
    waits = []
    for now in (0.0, 1e12, 1e12, 1e12):
        sending = state.due("planning", now)
        if sending:
            sender._again(sending, "test", {})
        rows = state._rows("select due, attempts from delivery")
        waits.append(round(rows[0][0] - time.time()))
    assert [abs(a - b) <= 3 for a, b in zip(waits, [100, 200, 350, 350], strict=True)] == [True] * 4


def test_given_up_after_the_time_is_a_dead_letter_and_can_be_tried_again(site, tools, capsys):
    site.archive.status = 0xA700
    site.over = {"delivery": {"first_retry_seconds": 0.1, "longest_retry_seconds": 0.1, "give_up_hours": 0.0001}}
    node, slices = site.start(), tools.ct_slices(3)
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"undelivered": 1})
    folder = site.folder / "spool/dead-letter" / uid_hash(slices[0].SeriesInstanceUID)[:16]
    # The state is on disk before the letter is.
    tools.wait_for((folder / "reason.json").exists)
    reason = json.loads((folder / "reason.json").read_text())["reason"]
    assert "refused rtstruct.dcm with status A700" in reason and "given up after" in reason
    result = node.spool.state.results(1)[0].sop_instance
    site.archive.status = 0
    # By sending it again: the same result goes out, it is not contoured again.
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    tools.wait_for(lambda: not folder.exists())
    assert site.archive.uids == [result] and site.segmenter.calls == [3]


def test_one_destination_down_does_not_hold_up_another(site, tools):
    down, rows = tools.Archive(tools.free_port()), site.settings()["destination"]
    site.over = {"destination": [*rows, {**rows[0], "name": "down", "port": down.port}]}
    node = site.start()
    for _ in range(2):
        site.send(tools.ct_slices(3))
    tools.wait_for(lambda: len(site.archive.uids) == 2)
    tools.wait_for(lambda: node.spool.state.queue() == {"down": 2})
    assert site.totals(node) == {"sending": 2}
    site.stop(node)
    # A destination that is taken out of the settings is not waited for.
    site.over = {}
    node = site.start()
    assert site.totals(node) == {"undelivered": 2} and len(site.archive.uids) == 2


def test_a_destination_that_takes_implicit_vr_only_gets_the_same_object(site, tools):
    from pydicom.uid import ImplicitVRLittleEndian

    site.archive.stop()
    site.archive.syntaxes = (ImplicitVRLittleEndian,)
    site.archive.start()
    node = site.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.archive.got[0].StructureSetLabel == "3"
    assert site.archive.got[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert site.archive.uids == [node.spool.state.results(1)[0].sop_instance]


def test_a_destination_that_stops_within_a_message_is_tried_again(site, tools, monkeypatch):
    from pynetdicom import evt

    from oarseg.node import deliver

    monkeypatch.setattr(deliver, "ANSWER_SECONDS", 1)
    stopped, small = threading.Event(), site.segmenter

    def large(ct, out):
        """More than the system's buffers hold, so that sending has to wait for the destination."""
        small(ct, out)
        result = pydicom.dcmread(out / "rtstruct.dcm")
        result.add_new(0x300600FF, "OB", bytes(40 << 20))
        result.save_as(out / "rtstruct.dcm")

    site.segmenter = large
    server = site.archive._ae._servers[0]
    server.bind(evt.EVT_DATA_RECV, lambda event: event.data[:1] == b"\x04" and stopped.wait(60))
    node = site.start()
    site.send(tools.ct_slices(3))
    try:
        tools.wait_for(lambda: node.counters.values["send_failures"] >= 1)
    finally:
        monkeypatch.setattr(deliver, "ANSWER_SECONDS", 30)
        stopped.set()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert len(set(site.archive.uids)) == 1


def undelivered(site, tools, slices):
    """A node that gave the results of ``slices`` up; the archive takes what comes next."""
    site.archive.status = 0xA700
    site.over = {"delivery": {"first_retry_seconds": 0.1, "longest_retry_seconds": 0.1, "give_up_hours": 0.0001}}
    node = site.start()
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"undelivered": 1})
    site.archive.status = 0
    return node


def test_what_was_never_delivered_and_then_deleted_is_contoured_again_when_it_comes_again(site, tools):
    slices = tools.ct_slices(3)
    node = undelivered(site, tools, slices)
    keep_to(node.config.retention, node.spool, time.time() + 31 * DAY)
    assert node.spool.bytes == 0
    assert site.send(slices) == [0] * 3
    tools.wait_for(lambda: site.totals(node) == {"undelivered": 1, "delivered": 1})
    assert site.segmenter.calls == [3, 3] and len(site.archive.uids) == 1


def test_a_dead_letter_is_overtaken_by_a_later_result_of_the_series(site, tools):
    slices = tools.ct_slices(5)
    node = undelivered(site, tools, slices[:4])
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"undelivered": 1, "delivered": 1})
    tools.wait_for(lambda: node.spool.bytes == 0)
    spool = site.folder / "spool"
    tools.wait_for(lambda: not list((spool / "dead-letter").iterdir()) and not list((spool / "results").iterdir()))
    assert [one.StructureSetLabel for one in site.archive.got] == ["5"]


@pytest.mark.parametrize("how", ["sent again", "retry"])
def test_a_destination_of_another_name_gets_what_the_old_one_did_not(site, tools, how):
    site.archive.stop()
    node, slices = site.start(), tools.ct_slices(3)
    site.send(slices)
    tools.wait_for(lambda: node.counters.values["send_failures"] >= 1)
    site.stop(node)
    site.over = {"destination": [{**site.settings()["destination"][0], "name": "renamed"}]}
    node = site.start()
    assert site.totals(node) == {"undelivered": 1}
    site.archive.start()
    if how == "retry":
        assert node.spool.state.retry(uid_hash(slices[0].SeriesInstanceUID), ["renamed"])
    else:
        site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [3] and len(site.archive.uids) == 1


def test_a_clock_that_was_set_back_delays_nothing(site, tools, monkeypatch):
    site.archive.stop()
    site.over = {"delivery": {"first_retry_seconds": 100, "longest_retry_seconds": 350}}
    node = site.start()
    site.send(tools.ct_slices(3))
    state = node.spool.state
    tools.wait_for(lambda: state._rows("select attempts from delivery") == [(1,)])
    now = time.time()
    assert state.due("planning", now, 350) is None
    assert state.due("planning", now - 3600, 350).attempts == 1
