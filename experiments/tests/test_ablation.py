"""The driver trains, resumes, scores, stores and skips, on phantoms and with networks of width 2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.ablation.plan import PLAN, load_plan
from experiments.ablation.predict import predictor
from experiments.ablation.run import done, main
from experiments.ablation.train import command, network_of, shown
from experiments.peers.shared import SharedUNets
from oarseg.bundles import FOLDER
from oarseg.bundles.render import sync
from oarseg.errors import ConfigError, OarsegError
from oarseg.evaluation.scores import read_scores
from oarseg.networks import UNet3d
from oarseg.networks.factor import network_factor
from oarseg.sites import load_site
from oarseg.training import read_state

pytestmark = pytest.mark.slow

LOSS = {"_target_": "oarseg.networks.FocalLoss", "gamma": 0.0}
BUDGET = {"steps": 1, "crop": [32, 32, 32], "batch_size": 1, "learning_rate": 0.001, "val_interval": 1000}


def small_shared() -> dict:
    overrides = dict(load_plan(PLAN).rows["shared"].trainings["all"].overrides)
    overrides["network_def"] = overrides["network_def"] | {"base_width": 2}
    # Whole, since what the budget below says of its workers is for the caches of the other bundles.
    return overrides | {"steps": 1, "validate#dataset": {"_target_": "monai.data.Dataset", "data": []}}


def write_plan(folder: Path, **changes: object) -> Path:
    """A plan of quick rows: one with four poolings; a second stage for an eye and so for its twin; one for all organs.

    The last is trained as the project's plan says, but briefly and with a width of 2.
    """
    quick = {"network_def#base_width": 2, "train#dataset#num_workers": 0, "validate#dataset#num_workers": 0}
    quick["expert_repeat"] = 1
    plan = {
        "budget": BUDGET | quick,
        "losses": {"ce": LOSS},
        "rows": [
            {
                "name": "deep", "title": "4 poolings", "bundle": "hn_ct_localizer", "loss": "ce",
                "overrides": {"network_def#poolings": 4},
            },
            {
                "name": "both", "title": "two stages", "localizer": "deep",
                "organs": {"eye_left": {"bundle": "eye_left_ct_segmentation", "overrides": {"steps": 2}}},
            },
            {
                "name": "one", "title": "one for all", "localizer": "deep",
                "organs": {"all": {"bundle": "hn_ct_two_stage", "overrides": small_shared()}},
            },
        ],
        "published": {"pool 4": {"brainstem": 0.6}},
        "tables": [{"key": "poolings", "title": "Poolings", "against": "deep", "rows": {"deep": "pool 4"}}],
    }  # fmt: skip
    path = folder / "plan.json"
    path.write_text(json.dumps(plan | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    sync(load_site(), root)
    return root


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, bundles: Path, dataset_dir: Path) -> tuple[Path, list[str], int]:
    """Folder, arguments and status of one real run of all rows."""
    folder = tmp_path_factory.mktemp("ablations")
    where = {"--plan": write_plan(folder), "--results": folder / "results"}
    run = where | {"--dataset-dir": dataset_dir, "--work-dir": folder / "work", "--bundles": bundles, "--device": "cpu"}
    words = [str(word) for pair in run.items() for word in pair]
    return folder, words, main(["run", *words])


@pytest.mark.slow
def test_stores_scores_and_facts(ran: tuple, dataset_dir: Path) -> None:
    folder, _, status = ran
    assert status == 0
    cases = json.loads((dataset_dir / "dataset.json").read_text(encoding="utf-8"))["validation"]
    asked = {(Path(case["image"]).name.split(".")[0], organ) for case in cases for organ in case["labelled"]}
    for name in ("deep", "both", "one"):
        rows = read_scores(folder / "results" / f"{name}.csv")
        # The second stage was trained for the eyes alone, and is scored on them alone.
        wanted = asked if name != "both" else {(c, o) for c, o in asked if o in ("eye_left", "eye_right")}
        assert wanted and {(row["case"], row["organ"]) for row in rows} == wanted
        text = (folder / "results" / f"{name}.json").read_text(encoding="utf-8")
        assert str(folder) not in text, "no path of this machine belongs into the results"
        assert str(dataset_dir) not in text
    facts = json.loads((folder / "results" / "deep.json").read_text(encoding="utf-8"))["trainings"]["localizer"]
    expected = sum(p.numel() for p in UNet3d(9, 2, 4).parameters())
    assert facts["parameters"] == expected
    assert facts["steps"] == 3, "one epoch of the three training cases"
    assert facts["core_seconds"] > 0
    assert facts["final_loss"] > 0
    assert facts["command"].startswith("python -m monai.bundle run training ")
    second = json.loads((folder / "results" / "both.json").read_text(encoding="utf-8"))
    assert second["localizer"] == "deep"
    assert set(second["trainings"]) == {"eye_left"}
    third = json.loads((folder / "results" / "one.json").read_text(encoding="utf-8"))
    expected = sum(p.numel() for p in SharedUNets(load_site().organs, 2).parameters())
    assert third["trainings"]["all"]["parameters"] == expected


@pytest.mark.slow
def test_one_network_for_all_organs_is_scored_with_the_weights_it_learnt(ran: tuple, bundles: Path) -> None:
    folder, words, _ = ran
    plan = load_plan(words[1])
    inferer, network = predictor(plan.rows["one"], plan, folder / "work", bundles, torch.device("cpu"))
    assert [organ.key for organ in inferer.organs] == [organ.key for organ in load_site().organs]
    stored = read_state(folder / "work/one/all/model.pt")
    kernel = "encoder.1.0.weight"
    for organ in ("brainstem", "eye_left", "mandible", "optic_nerve_left", "parotid_left"):
        assert torch.equal(network.organs[organ].get_parameter(kernel), stored[f"networks.brainstem.{kernel}"])
        assert torch.equal(network.organs[organ].head.weight, stored[f"networks.{organ}.head.weight"])
    learnt = [name for name in stored if name.endswith("num_batches_tracked") and stored[name] > 0]
    assert learnt, "some organ was drawn"


@pytest.mark.slow
def test_another_stage_one_makes_a_row_open_again(ran: tuple, tmp_path: Path) -> None:
    folder, words, _ = ran
    row, results = load_plan(words[1]).rows["both"], folder / "results"
    assert done(row, results)
    assert not done(replace(row, localizer="other"), results)


@pytest.mark.slow
def test_skips_what_is_done(ran: tuple, capsys: pytest.CaptureFixture) -> None:
    folder, words, _ = ran
    before = (folder / "results" / "deep.csv").stat().st_mtime_ns
    assert main(["run", "deep", *words]) == 0
    assert "0 of 0 rows" in capsys.readouterr().out
    assert (folder / "results" / "deep.csv").stat().st_mtime_ns == before
    main(["list", "--plan", words[1], "--results", words[3]])
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        [name, "done"] for name in ("deep", "both", "one")
    ]


@pytest.mark.slow
def test_goes_on_with_a_trained_network(ran: tuple) -> None:
    """What is trained but not scored is scored without training again."""
    folder, words, _ = ran
    csv, facts = (folder / "results" / f"deep.{kind}" for kind in ("csv", "json"))
    before = read_state(folder / "work/deep/model.pt")
    scores, former = csv.read_text(encoding="utf-8"), json.loads(facts.read_text())["trainings"]["localizer"]
    csv.unlink()
    assert main(["run", "deep", *words]) == 0
    assert csv.read_text(encoding="utf-8") == scores
    assert json.loads(facts.read_text())["trainings"]["localizer"] == former, "it cost nothing more"
    after = read_state(folder / "work/deep/model.pt")
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.slow
def test_a_run_stopped_from_outside_tells_no_cost(ran: tuple) -> None:
    """Its processor time is lost, and too small a figure would be wrong."""
    folder, words, _ = ran
    cost = folder / "work/deep/cost.json"
    cost.write_text(json.dumps(json.loads(cost.read_text(encoding="utf-8")) | {"whole": False}), encoding="utf-8")
    (folder / "results/deep.csv").unlink()
    assert main(["run", "deep", *words]) == 0
    facts = json.loads((folder / "results/deep.json").read_text(encoding="utf-8"))["trainings"]["localizer"]
    assert facts["core_seconds"] is None
    assert facts["seconds"] is None


@pytest.mark.slow
def test_a_failed_row_holds_up_no_other(ran: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, words, _ = ran
    words = list(words)
    rows = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["rows"]
    rows.insert(0, {"name": "broken", "title": "x", "bundle": "hn_ct_localizer", "loss": "none"})
    words[1] = str(write_plan(tmp_path, rows=rows, losses={"ce": LOSS, "none": {"_target_": "no.such.Loss"}}))
    words[3] = str(tmp_path / "results")
    assert main(["run", "broken", "deep", *words]) == 1
    printed = capsys.readouterr()
    assert "broken FAILED: OarsegError: training broken ended with status 1" in printed.err
    assert "train.log" in printed.err
    assert (tmp_path / "results" / "deep.csv").is_file()
    assert not (tmp_path / "results" / "broken.csv").exists()


@pytest.mark.slow
def test_other_settings_need_force(ran: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, words, _ = ran
    words = list(words)
    content = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    words[1] = str(write_plan(tmp_path, budget=content["budget"] | {"learning_rate": 0.5}))
    words[3] = str(tmp_path / "results")
    assert main(["run", "deep", *words]) == 1
    assert "holds a run with other settings; use --force" in capsys.readouterr().err


@pytest.mark.slow
def test_unknown_row(ran: tuple, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "deeper", *ran[1]]) == 2
    assert "no row deeper in the plan; it has: deep, both, one" in capsys.readouterr().err


def test_command_can_be_typed() -> None:
    run = shown(command(load_plan().rows["pool2"].trainings["localizer"], "DATASET", "runs/ablations", "bundles"))
    assert run == (
        'python -m monai.bundle run training "--config_file=[\'bundles/hn_ct_localizer/configs/train.json\', '
        "'runs/ablations/pool2/overrides.json']\" --dataset_dir=DATASET --output_dir=runs/ablations/pool2"
    )


def test_the_projects_plan() -> None:
    """Same budget for all rows of stage 1 but the peers, whose steps are more; published means are the thesis'."""
    plan = load_plan(PLAN)
    short = [plan.rows[name].trainings["localizer"].overrides for name in ("base", "pool2", "width12", "dice", "focal")]
    for key in ("steps", "crop", "batch_size", "learning_rate"):
        assert len({json.dumps(overrides[key]) for overrides in short}) == 1
    long = plan.rows["anatomynet"].trainings["localizer"].overrides
    assert {key for key in long if long[key] != short[0].get(key)} == {"steps", "loss", "network_def"}
    means = {column: sum(dice.values()) / 8 for column, dice in plan.published.items()}
    published = {"pool 2": 0.522, "pool 4": 0.664, "Dice loss": 0.631, "CE": 0.660, "focal": 0.670}
    published |= {"stage 1": 0.670, "stage 2": 0.730, "AnatomyNet": 0.721}
    for column, mean in published.items():
        assert means[column] == pytest.approx(mean, abs=0.001), column
    assert {"crop", "loss"}.isdisjoint(plan.rows["two_stage"].trainings["eye_left"].overrides)


def table(**changes: object) -> dict:
    return {"key": "t", "title": "T", "against": "deep", "rows": {"deep": None}} | changes


@pytest.mark.parametrize("name", list(load_plan().rows))
def test_every_network_of_the_plan_can_be_built(name: str) -> None:
    for key, training in load_plan().rows[name].trainings.items():
        network = network_of(training, FOLDER)
        size = 2 * network_factor(network)
        parts = network.views().values() if isinstance(network, SharedUNets) else [network]
        for part in parts:
            with torch.no_grad():
                logits = part(torch.rand(1, 1, size, size, size))
            assert logits.shape == (1, 9 if key == "localizer" else 2, size, size, size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [{"name": "a"}]}, "malformed"),
        ({"rows": 3}, "malformed"),
        ({"tables": [table(rows={"nothing": None}, against="nothing")]}, "'nothing', which is neither"),
        ({"tables": [table(rows={"deep": "pool 9"})]}, "'pool 9', which is neither"),
        ({"tables": [table(against="both")]}, "'both', which is neither"),
        ({"tables": [{"key": "t"}]}, "malformed"),
        ({"rows": [{"name": "b", "title": "B", "localizer": "c", "organs": {}}], "tables": []}, "stage 1 of 'c'"),
    ],
)
def test_plans_that_cannot_be(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_plan(write_plan(tmp_path, **changes))


def test_missing_plan(tmp_path: Path) -> None:
    with pytest.raises(OarsegError, match="no plan at"):
        load_plan(tmp_path / "plan.json")
