"""Several machines: what a worker finds out about its own, and what becomes of the cases of one that is gone."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from oarseg import __version__
from oarseg.cohort import Case, Options, run, run_cohort
from oarseg.cohort.journal import SETTINGS
from oarseg.cohort.worker import CohortWorker
from oarseg.errors import ConfigError
from oarseg.inference.bundle import read_bundle

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    """As the command gives them to a worker; input and output are there."""
    source, out = tmp_path / "in", tmp_path / "out"
    for folder in (source, out):
        folder.mkdir()
    (source / "ct.nii").touch()
    batch = {"input": str(source), "oarseg": __version__, "weights": read_bundle(None).weights["sha256"]}
    (out / SETTINGS).write_text(json.dumps(batch))
    chosen = {"organs": ["brainstem"], "formats": None, "device": "cpu", "engine": "auto", "bundle": None}
    return {**chosen, "batch": batch, "out": str(out)}


def test_a_machine_that_is_as_the_commands(settings):
    assert CohortWorker(settings).pipeline


@pytest.mark.parametrize("key, told", [("oarseg", "has oarseg"), ("weights", "has other weights")])
def test_another_oarseg(settings, key, told):
    settings["batch"][key] = "other"
    with pytest.raises(ConfigError, match=told):
        CohortWorker(settings)


def test_folders_that_are_not_shared(settings, tmp_path):
    # What is not mounted is an empty folder.
    (tmp_path / "in" / "ct.nii").unlink()
    with pytest.raises(ConfigError, match=f"does not see {tmp_path / 'in'} as here"):
        CohortWorker(settings)
    # Another batch under the same path.
    (tmp_path / "out" / SETTINGS).write_text('{"input": "elsewhere"}')
    with pytest.raises(ConfigError, match=f"{tmp_path / 'in'} nor {tmp_path / 'out'}"):
        CohortWorker(settings)
    (tmp_path / "out" / SETTINGS).unlink()
    settings["batch"]["input"] = "https://pacs.example.org#query"
    with pytest.raises(ConfigError, match=f"see {tmp_path / 'out'} as here"):
        CohortWorker(settings)


def test_no_cluster_at_the_address_is_said_at_once(tmp_path):
    pytest.importorskip("ray")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster at {address}"):
            run_cohort([], "in", tmp_path / "out", Options(address=address))


@pytest.mark.slow
def test_a_worker_whose_machine_is_gone_leaves_its_case_to_the_others(shared_ray, tmp_path, monkeypatch):
    import ray

    class Dying:
        """Ends its process at the case ``b``, once."""

        def segment(self, case, out):
            flag = Path(out).parent.parent / "died"
            if case.name == "b" and not flag.exists():
                flag.touch()
                os._exit(9)
            return {"status": "done", "seconds": 0.1}

    made = []

    def workers(*_):
        # For those that take a dead one's place there is never a processor.
        def make():
            made.append(ray.remote(Dying).options(num_cpus=1 if len(made) < 2 else 1000).remote())
            return made[-1]

        return make, 2

    monkeypatch.setattr(run, "_workers", workers)
    cases = [Case(name, str(tmp_path / name)) for name in "abcd"]
    outcome = run_cohort(cases, str(tmp_path), tmp_path / "out", Options(workers=2))
    assert (outcome.done, outcome.failed, len(made)) == (4, 0, 3)


@pytest.mark.slow
def test_says_when_there_is_no_room(shared_ray, tmp_path, monkeypatch):
    import ray

    from oarseg.cohort import turns

    class Idle:
        """Never starts."""

    monkeypatch.setattr(run, "_workers", lambda *_: (ray.remote(Idle).options(num_cpus=1000).remote, 1))
    monkeypatch.setattr(turns, "ROOM_SECONDS", 1.0)
    with pytest.raises(ConfigError, match="no machine had a processor"):
        run_cohort([Case("a", str(tmp_path))], str(tmp_path), tmp_path / "out", Options(workers=1))
