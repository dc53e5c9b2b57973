"""``oarseg batch --dicomweb``: each series fetched, contoured, stored; stopped and begun again."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from shared_ray import start_ray, stop_ray

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client: pip install 'oarseg[dicomweb]'")
pytest.importorskip("ray", reason="needs Ray: pip install 'oarseg[cluster]'")

from oarseg.cli import main
from oarseg.cohort.journal import JOURNAL, OWN_FILES
from oarseg.dicomweb import series_name

pytestmark = pytest.mark.slow

TOKEN = "secret-token-4711"


@pytest.fixture
def archive(web, tools, demo_slices, monkeypatch) -> list[str]:
    """Two patients' CTs, one that is no head, and a server that wants a token. The UIDs of the series."""
    monkeypatch.setenv("OARSEG_DICOMWEB_TOKEN", TOKEN)
    uids = []
    for n in range(2):
        slices = copy.deepcopy(demo_slices)
        fresh = [generate_uid(), generate_uid(), generate_uid()]
        for one in slices:
            one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = fresh
            one.PatientID, one.PatientName, one.StudyDate = f"P{n}", "Secret^Name", "20260115"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        uids.append(web.hold(*slices))
    uids.append(web.hold(*tools.ct_slices(4)))

    def guarded(handler):
        return handler.reply(401) if handler.headers.get("Authorization") != f"Bearer {TOKEN}" else False

    web.instead = {kind: [guarded] for kind in ("find", "fetch", "store")}
    return uids


def batch(web, out: Path, *options: str) -> list[str]:
    return ["batch", "--dicomweb", web.root, "--query", "PatientName=Secret*", "--query", "StudyDate=20260115",
            "-o", str(out), "--organs", "mandible", "--workers", "1", *options]  # fmt: skip


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]


@pytest.mark.slow
def test_a_query_is_contoured_and_stored(web, archive, tmp_path, capsys, request):
    # Anew, as its workers need the token; and once for both runs.
    stop_ray()
    start_ray()
    request.addfinalizer(stop_ray)
    out = tmp_path / "out"
    names = [series_name(uid) for uid in archive]
    # At first the server takes nothing.
    guarded = web.instead["store"]
    web.instead["store"] = [lambda handler: handler.reply(507)]
    assert main(batch(web, out, "--store", "-q")) == 1
    assert "3 case(s) failed" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {*OWN_FILES, *names[:2]}
    found = {row["case"]: row for row in csv.DictReader((out / "cases.csv").open())}
    assert [found[name]["status"] for name in names] == ["failed"] * 3
    assert "contoured, but not stored: " in found[names[0]]["reason"] and "507" in found[names[0]]["reason"]
    assert "not stored" not in found[names[2]]["reason"]
    # Then nothing is fetched or contoured again, but what had failed before.
    web.instead["store"] = guarded
    web.asked.clear()
    before = {path: path.read_bytes() for path in out.glob("*/rtstruct.dcm")}
    assert main(batch(web, out, "--store", "-q")) == 1
    assert sorted(kind for kind, _, _ in web.asked) == ["fetch", "find", "find", "store", "store"]
    assert {path: path.read_bytes() for path in out.glob("*/rtstruct.dcm")} == before and len(before) == 2
    studies = {one.StudyInstanceUID: one.PatientID for one in web.of_class("RTSTRUCT")}
    assert sorted(studies.values()) == ["P0", "P1"]
    last = {row["case"]: row for row in rows(out)}
    assert [last[name]["status"] for name in names] == ["done", "done", "failed"]
    assert last[names[0]]["stored"] == 1 and "contoured" not in last[names[0]]
    # Nothing names a patient, a series, or the token.
    told = "".join((out / name).read_text() for name in OWN_FILES) + capsys.readouterr().err
    assert not any(word in told for word in ("Secret", "P0", TOKEN, *archive, ".oarseg"))
    assert main([*batch(web, out), "--query", "PatientID=P0"]) == 2
    assert "other settings (input)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_kill_makes_no_second_rtstruct(web, archive, tmp_path):
    """Killed after the server has a result and before that is written down."""
    out = tmp_path / "out"
    pids: list[int] = []

    def fatal(handler):
        web.held.update({str(one.SOPInstanceUID): one for one in handler.sent})
        os.killpg(pids[0], signal.SIGKILL)

    stop_ray()
    guarded = web.instead["store"]
    web.instead["store"] = [fatal]
    command = [sys.executable, "-m", "oarseg.cli", *batch(web, out, "--store", "-q", "--limit", "1")]
    running = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    pids.append(running.pid)
    running.wait(240)
    assert [row.get("stored") for row in rows(out)] == [None] and len(web.of_class("RTSTRUCT")) == 1
    web.instead["store"] = guarded
    assert main(batch(web, out, "--store", "-q", "--limit", "1")) == 0
    assert len(web.of_class("RTSTRUCT")) == 1 and rows(out)[-1]["stored"] == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_leaves_no_images(web, archive, tmp_path):
    out = tmp_path / "out"
    fetching: list[int] = []

    def slow(handler):
        """Half a series, then nothing more."""
        fetching.append(1)
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
        handler.end_headers()
        handler.wfile.write(b"--x\r\n\r\n" + bytes(5000))
        # Longer than it takes to interrupt the command, which does not wait for the end.
        time.sleep(8)

    web.instead["fetch"] = [slow]
    # Its stack is shown if it does not end.
    command = [sys.executable, "-X", "faulthandler", "-m", "oarseg.cli", *batch(web, out, "-q")]
    # Into a file: a pipe is open until the last of Ray's processes has ended.
    with open(tmp_path / "stderr", "w+") as stderr:
        running = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, start_new_session=True)
        try:
            until = time.monotonic() + 120
            while not (fetching and list(out.glob(".oarseg-*"))):
                assert running.poll() is None and time.monotonic() < until
                time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(120)
        finally:
            running.send_signal(signal.SIGABRT)
            running.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        stderr.seek(0)
        assert "the same command continues" in (said := stderr.read()) and running.returncode == 130, said
    assert not list(out.glob(".oarseg-*"))


@pytest.mark.parametrize(
    "options, told",
    [
        ([], "give either INPUT"),
        (["in", "--dicomweb", "URL"], "give either INPUT"),
        (["in", "--store"], "--store needs --dicomweb URL"),
        (["--dicomweb", "URL", "--query", "StudyDate"], "expected KEY=VALUE"),
        (["--dicomweb", "URL", "--query", "PatientID=1", "--query", "PatientID=2"], "names PatientID twice"),
        (["--dicomweb", "URL", "--query", "Study=1"], "no DICOM keyword"),
        (["--dicomweb", "URL"], "or --query all for every CT"),
        (["--dicomweb", "URL", "--limit", "3"], "or --query all for every CT"),
        (["--dicomweb", "URL", "--query", "all", "--query", "PatientID=1"], "'all'"),
        (["--dicomweb", "URL", "--query", "all", "--limit", "0"], "expected 1 or more"),
        (["--dicomweb", "URL", "--query", "all", "--store", "--format", "nifti"], "nothing that can be stored"),
        (["--dicomweb", "URL", "--query", "PatientID=none"], "that fits the query"),
    ],
)
def test_bad_options(web, options, told, tmp_path, capsys):
    given = [web.root if part == "URL" else part for part in options]
    assert main(["batch", *given, "-o", str(tmp_path / "out"), "-q"]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_query_that_breaks_ends_after_what_is_at_work(tmp_path):
    from oarseg.cli.batch import _until
    from oarseg.errors import InputError

    def found():
        yield 1
        yield 2
        raise InputError("the server is away")

    broken = []
    assert list(_until(found(), broken)) == [1, 2] and str(broken[0]) == "the server is away"
