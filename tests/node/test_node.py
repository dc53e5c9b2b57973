"""The node from the first slice to the delivered result, and what goes wrong on the way, with a stand-in network."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install 'oarseg[node]'")

from oarseg.errors import ConfigError, InputError, OutputError
from oarseg.identity import uid_hash
from oarseg.node import Node
from oarseg.node.retention import DAY, keep_to

pytestmark = pytest.mark.slow


def test_a_series_comes_in_and_its_result_goes_out(site, tools, caplog):
    logging.getLogger("oarseg.node").propagate = True
    caplog.set_level(logging.INFO, "oarseg.node")
    node, slices = site.start(), tools.ct_slices(5)
    assert site.send(slices) == [0] * 5
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert [one.StructureSetLabel for one in site.archive.got] == ["5"]
    # At once after delivery nothing of the patient is left.
    tools.wait_for(lambda: node.spool.bytes == 0)
    assert not list((site.folder / "spool/series").iterdir()) and not list((site.folder / "spool/results").iterdir())
    said = "\n".join(f"{r.getMessage()} {r.values}" for r in caplog.records if hasattr(r, "values"))
    assert uid_hash(slices[0].SeriesInstanceUID)[:16] in said and "segmented" in said
    for secret in (tools.patient, "12345", slices[0].SeriesInstanceUID, slices[0].SOPInstanceUID):
        assert secret not in said
    assert slices[0].SeriesInstanceUID.encode() not in (site.folder / "spool/node.db").read_bytes()


def test_a_series_sent_twice_is_contoured_once_and_a_new_slice_makes_a_new_job(site, tools):
    node, slices = site.start(), tools.ct_slices(5)
    site.send(slices[:4])
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1} and node.spool.bytes == 0)
    assert site.send(slices[:4]) == [0] * 4
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1} and node.spool.bytes == 0)
    assert site.segmenter.calls == [4]
    # All of it again, with one that was not there.
    assert site.send(slices) == [0] * 5
    tools.wait_for(lambda: site.totals(node) == {"delivered": 2})
    assert site.segmenter.calls == [4, 5] and len(set(site.archive.uids)) == 2


def test_a_duplicate_in_one_association_is_acknowledged_and_ignored(site, tools):
    node, slices = site.start(), tools.ct_slices(4)
    assert site.send([*slices, slices[0], slices[3]]) == [0] * 6
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [4] and node.counters.values["instances_known"] == 2


def test_two_series_interleaved_are_two_results(site, tools):
    node, one, two = site.start(), tools.ct_slices(4), tools.ct_slices(6)
    first, second = site.associate(), site.associate("OTHER")
    for n in range(6):
        # Each association brings slices of both.
        for rows, assoc in ((one, first), (two, second)) if n % 2 else ((two, first), (one, second)):
            if n < len(rows):
                assert assoc.send_c_store(rows[n]).Status == 0
    first.release()
    tools.wait_for(lambda: node.receiver.open_associations() == 1)
    # The other association may still bring some.
    assert node.receiver.done() == [] and site.totals(node) == {"receiving": 2}
    second.release()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 2})
    assert sorted(site.segmenter.calls) == [4, 6]
    assert sorted(r.StructureSetLabel for r in site.archive.got) == ["4", "6"]


def test_an_aborted_association_loses_nothing_of_what_was_acknowledged(site, tools):
    node, slices = site.start(), tools.ct_slices(6)
    assoc = site.associate()
    assert [assoc.send_c_store(one).Status for one in slices[:4]] == [0] * 4
    assoc.abort()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.send(slices) == [0] * 6
    tools.wait_for(lambda: site.totals(node) == {"delivered": 2})
    assert site.segmenter.calls == [4, 6]


def test_a_bad_series_is_a_dead_letter_with_the_reason_and_the_next_one_goes_on(site, tools):
    node, bad, good = site.start(), tools.ct_slices(2), tools.ct_slices(4)
    site.send(bad)
    tools.wait_for(lambda: site.totals(node) == {"failed": 1})
    site.send(good)
    tools.wait_for(lambda: site.totals(node) == {"failed": 1, "delivered": 1})
    folder = site.folder / "spool/dead-letter" / uid_hash(bad[0].SeriesInstanceUID)[:16]
    # The state is on disk before the letter is.
    tools.wait_for((folder / "reason.json").exists)
    letter = json.loads((folder / "reason.json").read_text())
    assert letter["reason"] == "InputError: too few slices" and letter["instances"] == 2
    assert len(list((folder / "images").iterdir())) == 2
    # Sent again it is tried again; with the missing slices it succeeds, and the dead letter goes.
    site.send(bad)
    tools.wait_for(lambda: site.totals(node) == {"failed": 2, "delivered": 1})
    site.send(tools.ct_slices(3, series=bad[0].SeriesInstanceUID))
    tools.wait_for(lambda: site.totals(node).get("delivered") == 2)
    tools.wait_for(lambda: not folder.exists() and node.spool.bytes == 0)
    assert site.segmenter.calls == [2, 4, 2, 5]


def test_an_unexpected_error_is_a_dead_letter_too(site, tools):
    def broken(ct, out):
        raise ZeroDivisionError("odd")

    site.segmenter = broken
    node = site.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: site.totals(node) == {"failed": 1})
    assert node.spool.state.jobs("failed")[0].reason == "unexpected error: ZeroDivisionError: odd"
    assert node._wrong() == []


def test_no_room_for_results_waits_instead_of_failing(site, tools, monkeypatch):
    from oarseg.node import worker

    monkeypatch.setattr(worker, "WITHOUT_ROOM_SECONDS", 0.2)
    real, tries = site.segmenter, []

    def full_at_first(ct, out):
        tries.append(1)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        real(ct, out)

    site.segmenter = full_at_first
    node = site.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert len(tries) == 3


def test_what_is_kept_and_for_how_long(site, tools):
    site.over = {"retention": {"delivered_hours": 1, "dead_letter_days": 2, "remember_days": 5}}
    node = site.start()
    site.send(tools.ct_slices(3))
    site.send(tools.ct_slices(2))
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1, "failed": 1})
    rules, state, now = node.config.retention, node.spool.state, time.time()
    results = node.spool.results(state.jobs("delivered")[0].id)
    keep_to(rules, node.spool, now + 3000)
    assert len(state.all_here()) == 5 and results.is_dir()
    keep_to(rules, node.spool, now + 4000)
    assert len(state.all_here()) == 2 and not results.exists()
    assert len(list((site.folder / "spool/dead-letter").iterdir())) == 1
    keep_to(rules, node.spool, now + 3 * DAY)
    assert not state.all_here() and not list((site.folder / "spool/dead-letter").iterdir())
    assert site.totals(node) == {"delivered": 1, "failed": 1}
    keep_to(rules, node.spool, now + 6 * DAY)
    assert site.totals(node) == {} and not state._rows("select * from instance")


def test_a_start_removes_what_was_never_acknowledged_and_keeps_the_rest(site, tools):
    site.over = {"node": {"quiet_seconds": 60}}
    node, slices = site.start(), tools.ct_slices(3)
    site.send(slices)
    site.stop(node)
    spool = site.folder / "spool"
    kept = next((spool / "series").iterdir())
    (kept / "orphan.dcm").write_bytes(b"x")
    (spool / "incoming/half").write_bytes(b"x")
    (spool / "work/7/ct").mkdir(parents=True)
    (spool / "results/9").mkdir()
    site.over = {}
    node = site.start()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [3]
    assert not any((spool / name).exists() for name in ("incoming/half", "work/7", "results/9"))


def test_a_series_at_which_the_node_ends_again_and_again_is_a_dead_letter(site, tools):
    site.over = {"node": {"quiet_seconds": 60}}
    node = site.start()
    site.send(tools.ct_slices(3))
    state = node.spool.state
    series = state.pending()[0]
    state.complete(series, ["planning"])
    tools.wait_for(lambda: site.totals(node).get("delivered") == 1)
    with state.change() as db:
        db.execute("update job set state = 'segmenting', attempts = 10")
    site.stop(node)
    node = site.start()
    assert site.totals(node) == {"failed": 1} and "ended 10 times" in state_reason(node)


def state_reason(node) -> str:
    return node.spool.state.jobs("failed")[0].reason


def test_one_spool_is_of_one_node(site):
    site.start()
    with pytest.raises(ConfigError, match="in use by another node"):
        Node(site.config(), site.segmenter)


def test_a_port_that_is_taken_is_an_error(site, tools):
    site.over = {"node": {"port": site.archive.port}}
    node = Node(site.config(), site.segmenter)
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {site.archive.port}"):
        node.start()
    node.spool.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_health_and_metrics(site, tools, monkeypatch):
    import urllib.error
    import urllib.request

    from oarseg.node import loop

    port = tools.free_port()
    site.over = {"http": {"port": port}}
    node = site.start()
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    assert json.loads(get("/health")) == {"status": "ok", "wrong": []}
    text = get("/metrics")
    for line in (
        "oarseg_instances_stored_total 3.0", "oarseg_objects_sent_total 1.0", 'oarseg_series{state="delivered"} 1.0',
        'oarseg_deliveries_pending{destination="planning"} 0.0', "oarseg_up 1.0", "# TYPE oarseg_series gauge",
    ):  # fmt: skip
        assert line in text.splitlines()
    # Each name is told once, as Prometheus asks.
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))

    def wrong() -> str:
        with pytest.raises(urllib.error.HTTPError) as told:
            get("/health")
        assert told.value.code == 503
        return told.value.read().decode()

    # An error that nobody thought of ends no thread, and is told until it goes.
    real = node.spool.state.next_job
    monkeypatch.setattr(loop, "AFTER_ERROR_SECONDS", 0.1)
    monkeypatch.setattr(node.spool.state, "next_job", lambda: {}[tools.patient])
    tools.wait_for(lambda: node.worker.wrong)
    assert "worker: an unexpected error" in wrong() and tools.patient not in wrong()
    monkeypatch.setattr(node.spool.state, "next_job", real)
    tools.wait_for(lambda: not node.worker.wrong)
    assert json.loads(get("/health"))["wrong"] == []
    node.worker.stop()
    node.worker.join()
    node.receiver._server.get_request = lambda: {}["odd"]
    socket.create_connection(("127.0.0.1", site.port)).close()
    node.receiver.thread.join(10)
    told = wrong()
    assert "worker ended" in told and "listener ended" in told

    def gone() -> int:
        raise OSError("no such folder")

    monkeypatch.setattr(node.spool, "free", gone)
    assert "the spool cannot be read (OSError)" in wrong()


def test_a_full_disk_refuses_and_recovers(site, tools, monkeypatch):
    node, slices = site.start(), tools.ct_slices(4)
    usage = shutil.disk_usage(site.folder)
    site.config()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    assert site.send(slices) == [0xA700] * 4
    monkeypatch.undo()
    # As the system says it, in the middle of writing.
    real = node.spool._write
    monkeypatch.setattr(node.spool, "_write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert site.send(slices) == [0xA700] * 4
    monkeypatch.setattr(node.spool, "_write", real)
    assert not list((site.folder / "spool/incoming").iterdir()) and node.spool.bytes == 0
    assert site.send(slices) == [0] * 4
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})


def test_a_series_at_which_the_node_ended_comes_after_the_others(site, tools):
    site.over = {"node": {"quiet_seconds": 60}}
    node = site.start()
    node.worker.stop()
    node.worker.join()
    state = node.spool.state
    for _ in range(2):
        site.send(tools.ct_slices(3))
    for series in state.pending():
        state.complete(series, ["planning"])
    first = state.next_job()
    state.set_job(first.id, "waiting")
    assert state.next_job().id != first.id and state.next_job().attempts == 2


def test_a_kill_while_later_slices_wait_contours_them_once(site, tools):
    site.over = {"node": {"quiet_seconds": 60}}
    node, slices = site.start(), tools.ct_slices(5)
    node.worker.stop()
    node.worker.join()
    state, series = node.spool.state, uid_hash(slices[0].SeriesInstanceUID)
    site.send(slices[:4])
    state.complete(series, ["planning"])
    assert state.next_job().id == 1
    site.send(slices[4:])
    assert state.complete(series, ["planning"]) == "new"
    assert site.totals(node) == {"segmenting": 1, "waiting": 1}
    site.stop(node)
    site.over = {}
    node = site.start()
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [5] and node.spool.state.jobs("delivered")[0].attempts == 2


def test_after_a_restart_the_sender_has_the_quiet_time_to_come_again(site, tools):
    site.over = {"node": {"quiet_seconds": 3}}
    node, slices = site.start(), tools.ct_slices(5)
    site.send(slices[:3])
    with node.spool.state.change() as db:
        db.execute("update series set received = received - 3600")
    site.stop(node)
    node = site.start()
    time.sleep(0.6)
    assert site.totals(node) == {"receiving": 1}
    site.send(slices[3:])
    tools.wait_for(lambda: site.totals(node) == {"delivered": 1})
    assert site.segmenter.calls == [5]


def test_a_clock_that_is_set_ends_no_series(site, tools, monkeypatch):
    site.over = {"node": {"quiet_seconds": 60}}
    node, real = site.start(), time.time
    site.send(tools.ct_slices(3))
    tools.wait_for(lambda: node.receiver.open_associations() == 0)
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + hours * 3600)
        assert node.receiver.done() == [] and len(node.spool.state.pending()) == 1


def test_a_slice_that_came_damaged_is_mended_by_sending_it_again(site, tools, monkeypatch):
    def careful(ct, out):
        if any(pydicom.dcmread(path).PixelData == bytes(8192) for path in ct.iterdir()):
            raise InputError("damaged")
        real(ct, out)

    real, site.segmenter = site.segmenter, careful
    node, slices = site.start(), tools.ct_slices(4)
    good, slices[2].PixelData = slices[2].PixelData, bytes(8192)
    slices[0].PixelData = good
    site.send(slices)
    tools.wait_for(lambda: site.totals(node) == {"failed": 1})
    before = node.spool.bytes
    slices[2].PixelData = good
    # Refused half-way, it is not taken as known when it comes the next time.
    place = node.spool._place
    monkeypatch.setattr(node.spool, "_place", lambda *_: (_ for _ in ()).throw(OSError(5, "I/O error")))
    assert site.send(slices) == [0, 0, 0xA700, 0]
    monkeypatch.setattr(node.spool, "_place", place)
    assert site.send(slices) == [0] * 4
    tools.wait_for(lambda: site.totals(node).get("delivered") == 1)
    assert [one.StructureSetLabel for one in site.archive.got] == ["4"] and node.spool.bytes in (before, 0)


def test_what_is_remembered_does_not_slow_down_what_is_asked_every_second(site):
    node = Node(site.config(), site.segmenter)
    state = node.spool.state
    with state.change() as db:
        for n in range(200):
            db.execute("insert into series values (?, 0, ?)", (f"{n:064}", time.time()))
            db.execute("insert into job (series, state, attempts, changed, cleared) values (?, 'delivered', 1, 0, 1)",
                       (f"{n:064}",))  # fmt: skip
            db.executemany("insert into instance values (?, ?, 1, 0, 0)", [(f"{n:064}", str(i)) for i in range(150)])
    steps = []
    # Called for every 100 instructions of the database.
    state._db.set_progress_handler(lambda: steps.append(1), 100)
    keep_to(node.config.retention, node.spool)
    assert state.spool_bytes() == 0 and state.pending() == [] and len(steps) < 100
    state._db.set_progress_handler(None, 0)
    node.spool.close()


def test_a_new_spool_is_for_its_user_alone(site):
    node = Node(site.config(), site.segmenter)
    assert os.name == "nt" or (site.folder / "spool").stat().st_mode & 0o777 == 0o700
    node.spool.close()


def test_a_state_that_cannot_be_written_at_the_start_is_an_error_with_a_reason(site, tools, monkeypatch):
    from oarseg.node import service

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(service, "recover", full)
    with pytest.raises(OutputError, match="cannot be written .database or disk is full"):
        Node(site.config(), site.segmenter)
    monkeypatch.undo()
    Node(site.config(), site.segmenter).spool.close()


def test_nothing_of_a_patient_gets_into_the_log_by_warnings_or_broken_threads():
    code = (
        "import logging, threading, warnings; from oarseg.node.log import start_logging; start_logging()\n"
        "logging.getLogger('highdicom').warning('Secret^Name')\n"
        "warnings.warn('Secret^Name'); warnings.warn('Secret^Name', DeprecationWarning)\n"
        "def broken(): raise ValueError('Secret^Name')\n"
        "thread = threading.Thread(target=broken); thread.start(); thread.join()"
    )
    told = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "Secret" not in told.stderr + told.stdout
    assert json.loads(told.stderr)["event"] == "a thread broke" and json.loads(told.stderr)["reason"] == "ValueError"
