"""The end of a run of several processes."""

from __future__ import annotations

import time

import torch.distributed as dist

# Far longer than a waiting thread needs to let go, far shorter than anyone notices.
GRACE_SECONDS = 0.5


def leave_process_group() -> None:
    """End a distributed run: wait for the other processes, take the group down, let its threads finish.

    A thread of Gloo or of autograd may still hold tensors of the last step. If it needs the interpreter while that
    is shutting down, the process aborts ("terminate called without an active exception", pytorch/pytorch#190489) and
    a training that went well is reported as failed; so the interpreter waits for it here.
    """
    if not dist.is_initialized():
        return
    dist.barrier()
    dist.destroy_process_group()
    time.sleep(GRACE_SECONDS)
