"""Ray, started once for all the tests of a process that only need it to run; ``oarseg batch`` takes what runs."""

from __future__ import annotations

import sys

import pytest


def start_ray() -> None:
    """Start Ray with two processors, unless it runs. Its workers see the environment of now."""
    import ray

    if not ray.is_initialized():
        ray.init(
            address="local", _node_ip_address="127.0.0.1", num_cpus=2, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", configure_logging=False,
        )  # fmt: skip


def stop_ray() -> None:
    """Stop it, if it runs."""
    if sys.modules.get("ray"):
        sys.modules["ray"].shutdown()


@pytest.fixture
def shared_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray runs, and goes on to run after the test."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'oarseg[cluster]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    start_ray()
