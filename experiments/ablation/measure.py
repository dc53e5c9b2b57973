"""What a forward pass of each network of the plan and of both kinds of stage 2 costs: size, FLOPs, time, memory."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from experiments.ablation.plan import PLAN, Plan, load_plan
from experiments.ablation.train import network_of
from experiments.compression.costs import flops, time_in_turns, valid_size
from experiments.peers.shared import SharedUNets
from oarseg.bundles import FOLDER
from oarseg.inference import AutocastInferer, autocast
from oarseg.networks import TwoStageNet
from oarseg.process import peak_memory_mib
from oarseg.sites import Site, load_site
from oarseg.training import save_weights

REFERENCE = "base"
NETWORK_KEYS = ("network_def", "network_parts")
SEPARATE, SHARED = "eight networks", "one for all organs"


def measure_all(plan: Plan, path: Path = PLAN, repeats: int = 5, size: tuple[int, int, int] | None = None) -> dict:
    """Figures of every network of the plan, the first row of each kind, by name.

    ``size``: D, H, W voxels; by default stage 1's window. Time is taken in turns, so that whatever else the machine
    does falls upon all of them; memory in a fresh process each.
    """
    size = size or load_site().localizer.window
    networks = {name: network_of(plan.rows[name].trainings["localizer"], FOLDER) for name in distinct(plan)}
    reference = REFERENCE if REFERENCE in networks else next(iter(networks))
    turns = time_in_turns(networks, size, repeats)
    found = {}
    for name, network in networks.items():
        seconds = [turn[name] for turn in turns]
        found[name] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "tflop": round(flops(network, size) / 1e12, 7),
            "seconds": round(median(seconds), 3),
            "ratio": round(median(turn[name] / turn[reference] for turn in turns), 3),
            "peak_gib": round(peak_gib(name, path, size), 2),
        }
        print(f"{name}: {found[name]}", flush=True)
    with autocast("cpu"):
        precision = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
    whole = {"size": list(size), "reference": reference, "repeats": repeats, "threads": torch.get_num_threads()}
    return whole | {"precision": precision, "networks": found}


def distinct(plan: Plan) -> list[str]:
    """Rows of one stage whose networks differ, the reference first; losses and steps make no other network."""
    names = sorted((row.name for row in plan.rows.values() if not row.localizer), key=lambda name: name != REFERENCE)
    kinds: dict[str, str] = {}
    for name in names:
        overrides = plan.rows[name].trainings["localizer"].overrides
        network = {key: value for key, value in overrides.items() if key.startswith(NETWORK_KEYS)}
        kinds.setdefault(json.dumps(network, sort_keys=True), name)
    return list(kinds.values())


def measure_stage2(site: Site, repeats: int = 5) -> dict:
    """Figures of both kinds of stage 2 of a site under the key "stage2"; untrained networks cost what trained ones do.

    Time is taken in turns, so that whatever else the machine does falls upon both.
    """
    kinds = {SEPARATE: TwoStageNet.for_site(site).organs, SHARED: SharedUNets(site.organs)}
    turns = _turns({name: _networks(kind) for name, kind in kinds.items()}, site, repeats)
    found = {}
    for name, kind in kinds.items():
        found[name] = {
            "parameters": sum(p.numel() for p in kind.parameters()),
            "megabytes": round(_file_bytes(kind.state_dict()) / 1e6, 2),
            "tflop": round(sum(flops(net, site.organ(key).grid) for key, net in _networks(kind).items()) / 1e12, 7),
            "core_seconds": round(median(turn[name] for turn in turns), 3),
            "ratio": round(median(turn[name] / turn[SEPARATE] for turn in turns), 3),
        }
        print(f"stage 2, {name}: {found[name]}", flush=True)
    whole = {"organs": len(site.organs), "threads": torch.get_num_threads(), "repeats": repeats}
    return {"stage2": whole | {"kinds": found}}


def peak_gib(name: str, path: Path, size: tuple[int, ...]) -> float:
    """Peak resident memory of a fresh process that makes one pass of the row's network."""
    run = [sys.executable, "-m", "experiments.ablation.measure", name, "--plan", str(path), "--size"]
    done = subprocess.run([*run, *(str(n) for n in size)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _networks(kind: nn.Module) -> Mapping[str, nn.Module]:
    return kind.views() if isinstance(kind, SharedUNets) else dict(kind.items())


@torch.no_grad()
def _turns(kinds: Mapping[str, Mapping[str, nn.Module]], site: Site, repeats: int) -> list[dict[str, float]]:
    """Processor seconds of all organs' passes by kind, turn by turn; a first turn warms up and does not count."""
    run = AutocastInferer()
    images = {organ.key: torch.rand(1, 1, *organ.grid) for organ in site.organs}
    turns = []
    for _ in range(repeats + 1):
        turn = {}
        for name, networks in kinds.items():
            began = time.process_time()
            for key, network in networks.items():
                run(images[key], network.eval().to(memory_format=torch.channels_last_3d))
            turn[name] = time.process_time() - began
        turns.append(turn)
    return turns[1:]


def _file_bytes(state: Mapping[str, Tensor]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save_weights(state, path)
        return path.stat().st_size


def main(argv: list[str] | None = None) -> int:
    """One pass in this process; prints its peak memory in GiB."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", help="row of the plan")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--size", type=int, nargs=3, required=True)
    args = parser.parse_args(argv)
    network = network_of(load_plan(args.plan).rows[args.name].trainings["localizer"], FOLDER)
    network.to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        AutocastInferer()(torch.rand(1, 1, *valid_size(network, args.size)), network)
    print(peak_memory_mib() / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
