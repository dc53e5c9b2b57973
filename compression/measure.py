"""What a forward pass of a compressed network costs beside that of the original one."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from torch import nn

from oarseg.compression.structure import widths_of
from oarseg.evaluation.ablation_measure import flops, time_in_turns
from oarseg.inference import AutocastInferer
from oarseg.networks import UNet3d
from oarseg.training.weights import fit, read_state


def network_in(path: str | Path) -> UNet3d:
    """The UNet3d whose plain weights a file holds, whatever its widths; without its intensity statistics."""
    state = read_state(path)
    widths = widths_of(state)
    network = UNet3d(len(state["head.weight"]), widths=widths, in_channels=state["encoder.0.0.weight"].shape[1])
    fit(network, state, path)
    return network.eval()


def costs(models: Mapping[str, Path], size: tuple[int, ...], repeats: int = 3) -> dict[str, dict[str, float]]:
    """Cost of one pass of each model (path of plain weights by name) at ``size`` (D, H, W).

    Returns by name: ``flops`` (a multiplication and an addition are two), ``seconds`` (median of ``repeats`` turns, in
    which the models take turns), ``peak_gib`` (resident memory of a fresh process).
    """
    networks = {name: network_in(path) for name, path in models.items()}
    turns = time_in_turns(networks, size, repeats)
    return {
        name: {
            "flops": flops(networks[name], size),
            "seconds": round(median(turn[name] for turn in turns), 3),
            "peak_gib": round(peak_gib(path, size), 2),
        }
        for name, path in models.items()
    }


def peak_gib(path: Path, size: tuple[int, ...]) -> float:
    """Peak resident memory of a fresh process that makes one pass."""
    run = [sys.executable, "-m", "oarseg.compression.measure", str(path), "--size", *(str(n) for n in size)]
    return float(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()[-1])


def main(argv: list[str] | None = None) -> int:
    """One pass in this process; prints its peak memory in GiB."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("weights", type=Path, help="plain weights of a UNet3d, such as a step's model.pt")
    parser.add_argument("--size", type=int, nargs=3, required=True)
    args = parser.parse_args(argv)
    network: nn.Module = network_in(args.weights).to(memory_format=torch.channels_last_3d)
    first = next(network.parameters())
    with torch.no_grad():
        AutocastInferer()(torch.rand(1, first.shape[1], *args.size), network)
    print(own_peak_gib())
    return 0


def own_peak_gib() -> float:
    """Peak resident memory of this process, since it began."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux a new process begins with the peak of the one that started it.
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    # macOS counts in bytes, others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


if __name__ == "__main__":
    sys.exit(main())
