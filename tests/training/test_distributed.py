"""The end of a run of several processes; whole runs of two are in tests/bundles/test_command_line.py."""

from __future__ import annotations

import torch.distributed as dist

from oarseg.training import leave_process_group


def test_takes_the_group_down() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    leave_process_group()
    assert not dist.is_initialized()


def test_one_process_without_a_group_has_nothing_to_leave() -> None:
    leave_process_group()
    assert not dist.is_initialized()
