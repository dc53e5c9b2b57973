"""Cost of a forward pass of a compressed network beside that of the original one."""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from oarseg.compression.structure import widths_of
from oarseg.inference import AutocastInferer
from oarseg.networks import UNet3d
from oarseg.networks.factor import network_factor
from oarseg.process import peak_memory_mib
from oarseg.training.weights import fit, read_state


def network_in(path: str | Path) -> UNet3d:
    """Return the UNet3d of a file with plain weights, whatever its widths."""
    state = read_state(path)
    widths = widths_of(state)
    network = UNet3d(len(state["head.weight"]), widths=widths, in_channels=state["encoder.0.0.weight"].shape[1])
    fit(network, state, path)
    return network.eval()


def costs(models: Mapping[str, Path], size: tuple[int, ...], repeats: int = 3) -> dict[str, dict[str, float]]:
    """Return the cost of one pass of each model (path of plain weights by name) at ``size`` (D, H, W).

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


def valid_size(network: nn.Module, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return ``size``, each number rounded up to a multiple of the network's factor."""
    factor = network_factor(network)
    return tuple(-(-n // factor) * factor for n in size)


def flops(network: nn.Module, size: tuple[int, ...]) -> int:
    """Return the floating-point operations of a pass, a multiplication and an addition counted as two."""
    image = torch.empty(1, 1, *valid_size(network, size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta")(image)
    return counter.get_total_flops()


@torch.no_grad()
def time_in_turns(networks: dict[str, nn.Module], size: tuple[int, ...], repeats: int) -> list[dict[str, float]]:
    """Return the seconds of each network's pass, turn by turn; a first turn warms up and does not count."""
    run = AutocastInferer()
    for network in networks.values():
        network.to(memory_format=torch.channels_last_3d)
    turns = []
    for _ in range(repeats + 1):
        turn = {}
        for name, network in networks.items():
            image = torch.rand(1, 1, *valid_size(network, size))
            began = time.perf_counter()
            run(image, network)
            turn[name] = time.perf_counter() - began
        turns.append(turn)
    return turns[1:]


def peak_gib(path: Path, size: tuple[int, ...]) -> float:
    """Return the peak resident memory of a fresh process that makes one pass."""
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
    print(peak_memory_mib() / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
