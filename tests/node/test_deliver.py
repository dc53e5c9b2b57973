"""Sending: destinations that are down, refuse, or take one encoding only; and a state that cannot be written."""

from __future__ import annotations

import json
import time

import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from oarseg.node.spool import hashed


def test_a_state_that_cannot_be_written_is_tried_again(site, tools, monkeypatch):
    import sqlite3

    from oarseg.node import deliver, worker

    monkeypatch.setattr(worker, "WITHOUT_ROOM_SECONDS", 0.2)
    monkeypatch.setattr(deliver, "WITHOUT_ROOM_SECONDS", 0.2)
    node = site.start()

    def once(name: str) -> None:
        real = getattr(node.spool.state, name)

        def fails(*values):
            monkeypatch.setattr(node.spool.state, name, real)
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(node.spool.state, name, fails)

    for name in ("contoured", "sent", "add_instance", "complete"):
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
    tools.wait_for(lambda: node.counters.values["send_failures"] == 1)
    sender, state = node.senders[0], node.spool.state
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
    folder = site.folder / "spool/dead-letter" / hashed(slices[0].SeriesInstanceUID)[:16]
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
