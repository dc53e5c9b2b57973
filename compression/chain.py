"""The iterative chain: channel pruning, structural removal, threshold pruning, levels; each step retrained.

A bundle's ``configs/compress.json`` lies over its ``train.json`` and builds a :class:`Chain`. Every step is one run of
the bundle's own trainer (:class:`oarseg.compression.Recipe`) in a folder of its own; steps that are done are skipped,
one that was stopped goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from oarseg.compression.channels import RANKINGS, zeroed
from oarseg.compression.fake_quantize import quantized
from oarseg.compression.layers import sparsity
from oarseg.compression.levels import PRINTED, table
from oarseg.compression.masks import release
from oarseg.compression.packing import write_packed
from oarseg.compression.recipe import Recipe, TrainedNetwork, calling_parser
from oarseg.compression.stages import STAGES, START, prepared
from oarseg.compression.steps import WEIGHTS, Step, begin, done, finish, keep_recipe
from oarseg.compression.structure import widths_of
from oarseg.errors import ConfigError
from oarseg.inference.engines.packed.layout import SUFFIX
from oarseg.networks import UNet3d
from oarseg.training import read_state, verified
from oarseg.training.weights import FILE, sha256

logger = logging.getLogger(__name__)
# Ids of compress.json, which are no part of the training.
IDS = ("chain", "compress", "levels", "measure", "norm_batches", "ranking", "ratio", "ratios", "retrain_steps")
IDS += ("run", "schemes", "seed", "stages", "start", "threshold", "thresholds", "training")


class Chain:
    """The compression of a bundle's network.

    Args:
        bundle_root: of the bundle.
        output_dir: takes a folder for each step (``channels/0.05``), and the report.
        start: weights to begin with, the bundle's own (whose checksum must be the metadata's) or others.
        stages: which to run, in the chain's order. A stage begins with what the last stage before it has left in
            ``output_dir``, and with ``start`` where there is none.
        retrain_steps: optimizer steps of each step, or a number for each stage; 0 prunes without retraining.
        norm_batches: training batches, at most an epoch, from which BatchNorm's statistics are estimated again after
            the retraining of a step (see :meth:`oarseg.compression.Recipe.run`).
        ratios: of channels, each step beginning with the one before; ``ratio``: the one that the chain goes on with.
        ranking: of channels, "l1" or "random", a control.
        thresholds, threshold: likewise.
        levels: numbers of levels; each begins with what the threshold stage has left.
        schemes: of levels (see :func:`oarseg.compression.table`), each tried with each number.
        seed: of the random ranking.
        measure: without effect; configs of 0.1.0 name it.
        parser: the config to retrain by; the one that the chain is built from where None.

    Raises ConfigError where the settings do not fit each other.
    """

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        start: str,
        stages: Sequence[str] = STAGES,
        retrain_steps: int | Mapping[str, int] = 2000,
        norm_batches: int = 0,
        ratios: Sequence[float] = (0.05, 0.10, 0.15, 0.20, 0.25),
        ratio: float = 0.20,
        ranking: str = "l1",
        thresholds: Sequence[float] = (0.01, 0.02, 0.03, 0.04, 0.05),
        threshold: float = 0.02,
        levels: Sequence[int] = PRINTED,
        schemes: Sequence[str] | str = "printed",
        seed: int = 0,
        measure: bool = False,
        parser: ConfigParser | None = None,
    ) -> None:
        self.bundle_root, self.root, self.start = Path(bundle_root), Path(output_dir), Path(start)
        self.norm_batches = norm_batches
        self.stages = [stage for stage in STAGES if isinstance(stages, Sequence) and stage in stages]
        self.ratios, self.ratio, self.ranking, self.seed = sorted(_listed("ratios", ratios)), ratio, ranking, seed
        self.thresholds, self.threshold = sorted(_listed("thresholds", thresholds)), threshold
        self.levels = _listed("levels", levels, int)
        self.schemes = [schemes] if isinstance(schemes, str) else _listed("schemes", schemes, str)
        per_stage = retrain_steps if isinstance(retrain_steps, Mapping) else dict.fromkeys(STAGES, retrain_steps)
        self.retrain_steps = {"start": 0, "remove": 0} | {s: n for s, n in per_stage.items() if s != "remove"}
        _check(self, stages)
        self.recipe = Recipe(calling_parser() if parser is None else parser)

    def run(self) -> Path:
        """Run every step that is not done, and write the report; returns the folder of the results.

        Raises ConfigError where the folder holds a chain with other settings, or a stage lacks what it begins with.
        """
        from oarseg.compression.report import write_report

        if torch.distributed.is_initialized():
            raise ConfigError("the compression chain runs in one process; start it without torchrun")
        keep_recipe(self.root, self.recipe.settings(IDS))
        self._do(START, None)
        for stage in self.stages:
            base = self._base(stage)
            for step in self._steps(stage):
                self._do(step, base)
                # A ratio or threshold goes on from the one before; numbers of levels do not depend on each other.
                base = base if stage == "levels" else step.folder(self.root)
        write_report(self.root)
        return self.root

    def _steps(self, stage: str) -> list[Step]:
        if stage == "channels":
            shared = {"ranking": self.ranking} | ({"seed": self.seed} if self.ranking == "random" else {})
            return [Step(stage, f"{ratio:g}", {"ratio": ratio} | shared) for ratio in self.ratios]
        if stage == "threshold":
            return [Step(stage, f"{value:g}", {"threshold": value}) for value in self.thresholds]
        if stage == "levels":
            pairs = [(scheme, count) for scheme in self.schemes for count in self.levels]
            return [Step(stage, f"{scheme}_{n}", {"levels": n, "scheme": scheme}) for scheme, n in pairs]
        return [Step(stage, "structure")]

    def _base(self, stage: str) -> Path:
        """Return the folder of the step that a stage begins with.

        Raises ConfigError where an earlier stage has begun but is not done.
        """
        kept = {"channels": f"{self.ratio:g}", "remove": "structure", "threshold": f"{self.threshold:g}"}
        for earlier in reversed(STAGES[: STAGES.index(stage)]):
            if not (self.root / earlier).is_dir():
                continue
            folder = self.root / earlier / kept[earlier]
            if not done(folder):
                raise ConfigError(f"{stage} begins with {folder}, which is not done; run {earlier} first")
            return folder
        return START.folder(self.root)

    def _do(self, step: Step, base: Path | None) -> None:
        """Do one step, from the weights in ``base``, or those the chain starts with."""
        weights = self.start if base is None else base / WEIGHTS
        if base is None and weights.resolve() == (self.bundle_root / FILE).resolve():
            verified(self.bundle_root)
        state = read_state(weights)
        steps = self.retrain_steps[step.stage]
        batches = 0 if step.stage in ("start", "remove") else self.norm_batches
        settings = {"retrain_steps": steps, "norm_batches": batches, **step.settings, "begins_with": sha256(weights)}
        if begin(step, self.root, settings):
            logger.info("%s %s is done already", step.stage, step.name)
            return
        logger.info("%s %s begins with %s", step.stage, step.name, weights)
        network = self.recipe.network(state, weights)
        network, facts = prepared(network, step)
        outcome = self.recipe.run(network, step.folder(self.root), steps, batches)
        self._finish(step, outcome, facts)

    def _finish(self, step: Step, outcome: TrainedNetwork, facts: dict) -> None:
        network, folder = outcome.network.cpu(), step.folder(self.root)
        kernels = quantized(network)
        state = release(network).state_dict()
        if kernels:
            facts["packed_bytes"] = write_packed(folder / f"model{SUFFIX}", state, kernels)
        parameters = sum(p.numel() for p in network.parameters())
        results = {
            "dice": outcome.metrics[outcome.key],
            "metrics": outcome.metrics,
            "steps": outcome.steps,
            "parameters": parameters,
            "bytes": 4 * parameters,
            "sparsity": round(sparsity(network), 6),
            "size": list(outcome.size),
        }
        if isinstance(network, UNet3d):
            # What a config's network_def needs to be the network of these weights.
            facts["widths"] = widths_of(state)
        finish(step, self.root, state, results | facts)
        logger.info("%s %s: %s %.4f", step.stage, step.name, outcome.key, results["dice"])


def _check(chain: Chain, stages: Sequence[str]) -> None:
    """Raise ConfigError before hours of training, not after."""
    listed = isinstance(stages, Sequence) and not isinstance(stages, str)
    unknown = listed and [stage for stage in (*stages, *chain.retrain_steps) if stage not in (*STAGES, "start")]
    if unknown or not chain.stages or not listed:
        raise ConfigError(f"stages must be a list of some of {', '.join(STAGES)}, not {stages!r}")
    missing = [stage for stage in chain.stages if stage not in chain.retrain_steps]
    if missing or any(type(n) is not int or n < 0 for n in chain.retrain_steps.values()):
        raise ConfigError(f"retrain_steps must be a number from 0, or one for each stage, not {chain.retrain_steps}")
    if type(chain.norm_batches) is not int or chain.norm_batches < 0:
        raise ConfigError(f"norm_batches must be a number from 0, not {chain.norm_batches!r}")
    for ratio in chain.ratios:
        zeroed(1000, ratio)
    if any(not 0 < value < 1 for value in chain.thresholds):
        raise ConfigError(f"thresholds must lie between 0 and 1, not {chain.thresholds}")
    for scheme in chain.schemes:
        for count in chain.levels:
            table(count, scheme)
    if chain.ranking not in RANKINGS:
        raise ConfigError(f"ranking must be one of {', '.join(RANKINGS)}, not {chain.ranking!r}")
    for stage, one in (("channels", "ratio"), ("threshold", "threshold")):
        value, values = getattr(chain, one), getattr(chain, f"{one}s")
        if not _is(value, float):
            raise ConfigError(f"{one} must be a number, not {value!r}")
        # Any stage after it begins with that one.
        if stage in chain.stages[:-1] and value not in values:
            raise ConfigError(f"{one} {value} is none of the {one}s {values}")


def _listed(name: str, values: object, kind: type = float) -> list:
    """``values`` as a list. Raises ConfigError where they are none of ``kind``, or two would share a step's folder."""
    if not isinstance(values, list | tuple) or not all(_is(value, kind) for value in values):
        what = {float: "numbers", int: "whole numbers", str: "names"}[kind]
        raise ConfigError(f"{name} must be a list of {what}, not {values!r}")
    if len({value if kind is str else f"{value:g}" for value in values}) < len(values):
        raise ConfigError(f"{name} must differ from each other, not {values!r}")
    return list(values)


def _is(value: object, kind: type) -> bool:
    """Whether ``value`` is of ``kind``; a whole number is a float too, a truth value no number."""
    return isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
