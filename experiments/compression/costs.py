"""Cost of a forward pass of a compressed network beside that of the original one.

``python -m experiments.compression.costs FOLDER`` writes ``costs.json`` into a chain's folder.
"""

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

from oarseg.compression.report import finished
from oarseg.compression.stages import START
from oarseg.compression.steps import WEIGHTS
from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError, OarsegError
from oarseg.files import write_json
from oarseg.inference import AutocastInferer
from oarseg.networks import UNet3d
from oarseg.networks.factor import network_factor
from oarseg.process import peak_memory_mib
from oarseg.training.weights import fit, read_state

ROOT = Path(__file__).resolve().parents[2]
FILE = "costs.json"


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
    numbers = [str(n) for n in size]
    run = [sys.executable, "-m", "experiments.compression.costs", str(path.resolve()), "--one-pass", *numbers]
    found = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(found.stdout.split()[-1])


def write_costs(root: Path) -> Path:
    """Write ``costs.json`` into the folder of a chain that has removed channels; return its path.

    The costs are those of the network before and after the removal. Raises ConfigError where there is none.
    """
    steps = finished(root)
    cut = next((step for step in steps if step["stage"] == "remove"), None)
    if cut is None:
        raise ConfigError(f'{root} holds no finished chain step "remove"; nothing can be compared')
    models = {"start": root / START.stage / START.name / WEIGHTS, "remove": root / "remove" / cut["name"] / WEIGHTS}
    size = tuple(steps[0]["results"]["size"])
    write_json(root / FILE, {"size": list(size), "networks": costs(models, size)})
    return root / FILE


def one_pass(weights: Path, size: list[int]) -> float:
    """Make one pass in this process; return the peak memory in GiB."""
    network: nn.Module = network_in(weights).to(memory_format=torch.channels_last_3d)
    first = next(network.parameters())
    with torch.no_grad():
        AutocastInferer()(torch.rand(1, first.shape[1], *size), network)
    return peak_memory_mib() / 1024


def main(argv: list[str] | None = None) -> int:
    """Measure time and memory of a chain's network before and after the removal of channels."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="output_dir of the chain (with --one-pass: a file of weights)")
    parser.add_argument("--one-pass", type=int, nargs=3, metavar="N", help="only print the peak GiB of one pass")
    args = parser.parse_args(argv)
    try:
        print(one_pass(args.folder, args.one_pass) if args.one_pass else write_costs(args.folder))
    except OarsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
