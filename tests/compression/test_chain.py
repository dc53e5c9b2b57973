"""The chain, as MONAI runs it from a bundle's configs, on five phantoms."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.engines import SupervisedTrainer

from oarseg.cli import main
from oarseg.compression import read_packed, sparsity, widths_of
from oarseg.compression.figures import write_figures
from oarseg.errors import ConfigError, OarsegError, WeightsError
from oarseg.networks import UNet3d, unet_widths
from oarseg.training import read_state

pytestmark = pytest.mark.slow

BRIEF = {
    "val_interval": 0,
    "batch_size": 1,
    "retrain_steps": 2,
    "norm_batches": 1,
    "ratios": [0.125, 0.25],
    "ratio": 0.25,
    "thresholds": [0.02, 0.05],
    "threshold": 0.02,
    "levels": [3, 31],
    "schemes": ["printed", "layer"],
    "train#dataset#num_workers": 0,
    "validate#dataset#num_workers": 0,
}


# Channels are pruned, and nothing is trained.
UNTRAINED = {"stages": ["channels"], "ratios": [0.25], "retrain_steps": 0, "norm_batches": 0}


class Stopped(Exception):
    """Stands in for a power cut."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def compress(dataset_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """``compress(bundle, out, **overrides)``: what ``monai.bundle run compress`` does; returns the parser.

    Without ``figures`` the report has none: drawing takes as long as all networks together.
    """

    def run(bundle: Path, out: Path, figures: bool = False, **more: object) -> ConfigParser:
        monkeypatch.setattr("oarseg.compression.report.write_figures", write_figures if figures else lambda *args: [])
        configs = bundle / "configs"
        flow = ConfigWorkflow(
            config_file=[str(configs / "train.json"), str(configs / "compress.json")],
            meta_file=str(configs / "metadata.json"),
            logging_file=False,
            workflow_type="train",
            run_id="compress",
            bundle_root=str(bundle),
            dataset_dir=str(dataset_dir),
            output_dir=str(out),
            device="cpu",
            **BRIEF | more,
        )
        flow.initialize()
        flow.run()
        flow.finalize()
        return flow.parser

    return run


@pytest.fixture
def pruned(bundles: dict, compress, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a localizer's chain by ``UNTRAINED``, made by the first test that needs it; not to be changed."""
    out = tmp_path_factory.getbasetemp() / "pruned_localizer"
    if not out.is_dir():
        compress(bundles["localizer"], out, **UNTRAINED)
    return out


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Iterations that each trainer has done, run by run."""
    made: list[int] = []
    plain = SupervisedTrainer.run

    def run(self: SupervisedTrainer) -> None:
        steps: list[int] = []
        self.add_event_handler(Events.ITERATION_COMPLETED, lambda: steps.append(1))
        plain(self)
        made.append(len(steps))

    monkeypatch.setattr(SupervisedTrainer, "run", run)
    return made


def facts(out: Path, step: str) -> dict:
    return json.loads((out / step / "step.json").read_text(encoding="utf-8"))


def cause(error: BaseException) -> BaseException:
    """MONAI wraps the error of whatever it builds or runs; ours is among its causes."""
    while error.__cause__ is not None and not isinstance(error, OarsegError | Stopped):
        error = error.__cause__
    return error


STEPS = (
    "start/weights", "channels/0.125", "channels/0.25", "remove/structure", "threshold/0.02", "threshold/0.05",
    "levels/printed_3", "levels/printed_31", "levels/layer_3", "levels/layer_31",
)  # fmt: skip
# The network of an organ takes the same way through the chain; a step of each stage is enough.
BRIEFER = {"ratios": [0.25], "thresholds": [0.02], "levels": [31], "schemes": "layer"}
BRIEFER_STEPS = ("start/weights", "channels/0.25", "remove/structure", "threshold/0.02", "levels/layer_31")


@pytest.mark.slow
def test_whole_chain(bundles: dict, compress, trainings: list[int], tmp_path: Path, caplog) -> None:
    bundle, out = bundles["localizer"], tmp_path / "out"
    caplog.set_level(logging.INFO, "oarseg.compression.chain")
    compress(bundle, out)
    results = {step: facts(out, step)["results"] for step in STEPS}
    # Two steps for everything but the start and the removal, which do not train.
    assert trainings == [2] * 8
    assert [r["steps"] for r in results.values()] == [0, 2, 2, 0, 2, 2, 2, 2, 2, 2]
    _removed_and_packed(out, results)
    shares = [results[f"threshold/{value}"]["sparsity"] for value in ("0.02", "0.05")]
    assert 0.05 < shares[0] < shares[1]
    printed = read_state(out / "levels/printed_3/model.pt")
    assert set(printed["head.weight"].unique().tolist()) <= {-1, 0, 1}
    assert "channels 0.25: val_mean_dice" in caplog.text
    # A second run has nothing to do, and another ratio to add is all it does.
    compress(bundle, out)
    assert len(trainings) == 8
    compress(bundle, out, figures=True, stages=["levels"], levels=[3, 5], schemes="centres")
    assert len(trainings) == 10
    content = _report(out)
    assert [step["stage"] for step in content["steps"]] == ["start"] + ["channels"] * 2 + ["remove"] + [
        "threshold"] * 2 + ["levels"] * 6  # fmt: skip
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "## Dice of each organ" in text
    for name in ("dice.png", "weights.png"):
        assert f"![{name}]({name})" in text
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_whole_chain_of_an_organ(bundles: dict, compress, trainings: list[int], tmp_path: Path) -> None:
    out = tmp_path / "out"
    compress(bundles["organ"], out, **BRIEFER)
    results = {step: facts(out, step)["results"] for step in BRIEFER_STEPS}
    assert trainings == [2] * 3
    assert [r["steps"] for r in results.values()] == [0, 2, 0, 2, 2]
    _removed_and_packed(out, results)
    assert results["threshold/0.02"]["sparsity"] > 0.05
    content = _report(out)
    assert [step["stage"] for step in content["steps"]] == ["start", "channels", "remove", "threshold", "levels"]
    # A network of one organ has no Dice of each organ.
    assert "## Dice of each organ" not in (out / "report.md").read_text(encoding="utf-8")


def _removed_and_packed(out: Path, results: dict) -> None:
    """What every whole chain must have left in its folders."""
    assert all(0 <= r["dice"] <= 1 and r["dice"] == r["metrics"]["val_mean_dice"] for r in results.values())
    states = {step: read_state(out / step / "model.pt") for step in results}
    assert widths_of(states["channels/0.25"]) == unet_widths(8)
    cut = widths_of(states["remove/structure"])
    assert cut["encoder"] == [[6, 6], [12, 12], [24, 24], [48, 48]] and cut["up"] == [24, 12, 6]
    assert results["remove/structure"]["bytes"] == results["channels/0.25"]["bytes_removed"]
    assert results["remove/structure"]["largest_difference"] < 1e-3
    assert results["remove/structure"]["dice"] == pytest.approx(results["channels/0.25"]["dice"], abs=0.01)
    kept = states["threshold/0.02"]
    for step in [step for step in results if step.startswith("levels/")]:
        packed = read_packed(out / step / "model.packed")
        assert packed.keys() == states[step].keys()
        assert all(torch.equal(packed[key], value) for key, value in states[step].items())
        assert all((value[kept[key] == 0] == 0).all() for key, value in states[step].items() if value.ndim == 5)
        assert results[step]["packed_bytes"] == (out / step / "model.packed").stat().st_size
    assert not list(out.glob("**/train_*.pt"))


def _report(out: Path) -> dict:
    """Check what every whole chain's report says; return the content of ``report.json``."""
    text = (out / "report.md").read_text(encoding="utf-8")
    for part in ("## Steps", "## Parameters of each layer", "encoder.0.0"):
        assert part in text, part
    content = json.loads((out / "report.json").read_text(encoding="utf-8"))
    row = next(row for row in content["layers"] if row["layer"] == "encoder.3.0")
    assert row["start"] == 64 * 32 * 27 and row["remove"] == 48 * 24 * 27 and 0 < row["threshold"] < row["remove"]
    assert f"| encoder.3.0 | {row['start']} | {row['remove']} | {row['threshold']} |" in text
    return content


@pytest.mark.slow
def test_resumes_inside_a_step(bundles: dict, compress, trainings: list, tmp_path: Path) -> None:
    out = tmp_path / "out"
    overrides = {"stages": ["channels"], "ratios": [0.125, 0.25]}
    settings = overrides | {"retrain_steps": 13}
    epochs = []

    def stop(engine) -> None:
        epochs.append(engine.state.epoch)
        if len(epochs) == 2:
            raise Stopped

    plain = SupervisedTrainer.run

    def stopping(self) -> None:
        # After the checkpoint of the epoch has been written.
        self.add_event_handler(Events.EPOCH_COMPLETED, stop)
        plain(self)

    patch = pytest.MonkeyPatch()
    patch.setattr(SupervisedTrainer, "run", stopping)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compress(bundles["localizer"], out, **settings)
    patch.undo()
    assert isinstance(cause(caught.value), Stopped)
    assert "results" not in facts(out, "channels/0.125")
    assert list((out / "channels/0.125").glob("train_*.pt"))
    # The report of what is there can be had at any time.
    assert main(["compress", "report", str(out)]) == 0
    # A stage that begins with an unfinished one says so.
    with pytest.raises(Exception) as caught:
        compress(bundles["localizer"], out, **settings | {"stages": ["remove"]})
    assert isinstance(cause(caught.value), ConfigError) and "which is not done; run channels first" in str(
        cause(caught.value)
    )
    before = len(trainings)
    compress(bundles["localizer"], out, **settings)
    length = facts(out, "channels/0.25")["results"]["steps"]
    done = facts(out, "channels/0.125")["results"]["steps"]
    # Two epochs were done when it stopped; the rest of the first step, and all of the second.
    assert done == length >= 13
    first, second = trainings[before:]
    assert 0 < first < second == length


def test_refuses_other_settings(bundles: dict, compress, pruned: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(pruned, tmp_path / "out"))
    brief = UNTRAINED
    for changed, message in (
        ({"retrain_steps": 1}, "retrain_steps was 0, is 1"),
        ({"norm_batches": 2}, "norm_batches was 0, is 2"),
        ({"ranking": "random"}, "ranking was 'l1', is 'random'"),
        ({"learning_rate": 0.5}, "learning_rate was '0.001', is '0.5'"),
        ({"loss#losses#0#gamma": 0.0}, "loss::losses::0::gamma was '2.0', is '0.0'"),
        ({"start": str(out / "channels/0.25/model.pt")}, "begins_with was"),
    ):
        with pytest.raises(Exception) as caught:
            compress(bundles["localizer"], out, **brief | changed)
        error = cause(caught.value)
        assert isinstance(error, ConfigError) and message in str(error), error
        assert "give another output_dir" in str(error)
    (out / "channels/0.25/step.json").write_text("{", encoding="utf-8")
    with pytest.raises(Exception) as caught:
        compress(bundles["localizer"], out, **brief)
    assert "is damaged" in str(cause(caught.value))


@pytest.mark.slow
def test_stages_alone_begin_with_the_weights(bundles: dict, compress, tmp_path: Path) -> None:
    for stage in ("threshold", "levels"):
        brief = UNTRAINED | {"stages": [stage], "levels": [3], "schemes": "layer"}
        compress(bundles["organ"], tmp_path / stage, **brief)
    start = read_state(bundles["organ"] / "models/model.pt")
    state = read_state(tmp_path / "threshold/threshold/0.05/model.pt")
    for key, value in state.items():
        expected = start[key].float() if value.is_floating_point() else start[key]
        if value.ndim == 5:
            expected = torch.where(expected.abs() < 0.05, 0.0, expected)
        assert torch.equal(value, expected), key
    network = UNet3d(2, 8)
    network.load_state_dict(state)
    assert sparsity(network) == pytest.approx(facts(tmp_path / "threshold", "threshold/0.05")["results"]["sparsity"])


@pytest.mark.slow
def test_statistics_are_estimated_anew(bundles: dict, compress, pruned: Path, tmp_path: Path) -> None:
    """Of what BatchNorm sees in the pruned network; nothing else changes."""
    compress(bundles["localizer"], tmp_path / "2", **UNTRAINED | {"norm_batches": 2})
    states = [read_state(out / "channels/0.25/model.pt") for out in (pruned, tmp_path / "2")]
    for key, value in states[0].items():
        if key.endswith(("running_mean", "running_var")):
            # None of a zeroed kernel's output is ever anything but zero.
            kept = states[0][f"{key.rpartition('.')[0]}.weight"] != 0
            assert (states[1][key] != value)[kept].all() and (states[1][key][~kept] == 0).all()
        elif key.endswith("num_batches_tracked"):
            assert states[1][key] == 2
        else:
            assert torch.equal(states[1][key], value)


@pytest.mark.slow
def test_random_ranking_differs(bundles: dict, compress, pruned: Path, tmp_path: Path) -> None:
    for name, more in {"a": {"ranking": "random"}, "b": {"ranking": "random", "seed": 1}}.items():
        compress(bundles["localizer"], tmp_path / name, **UNTRAINED, **more)
    zero = [read_state(out / "channels/0.25/model.pt")["encoder.3.0.weight"].sum((1, 2, 3, 4)) == 0 for out in
            (pruned, tmp_path / "a", tmp_path / "b")]  # fmt: skip
    assert [int(z.sum()) for z in zero] == [16, 16, 16]
    assert not torch.equal(zero[0], zero[1]) and not torch.equal(zero[1], zero[2])


def test_weights_that_are_not_the_bundles(bundles: dict, compress, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    for start, kind in ((tmp_path / "none.pt", WeightsError), (tmp_path / "other.pt", ConfigError)):
        with pytest.raises(Exception) as caught:
            compress(bundles["localizer"], tmp_path / "out", start=str(start))
        assert isinstance(cause(caught.value), kind)


def test_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["compress", "report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("oarseg: error: ") and str(tmp_path) in error and error.count("\n") == 1
