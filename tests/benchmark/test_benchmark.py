"""The benchmark on a small bundle and a small CT: every figure is there, and is what can be known beforehand."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from oarseg.benchmark.operations import compressed_networks, gflop
from oarseg.benchmark.plain import PlainTorch
from oarseg.benchmark.process import RunError, run_process
from oarseg.benchmark.run import (
    CPU,
    LOCALIZER_PASSES,
    NETWORKS,
    PASSES_CPU,
    STEPS,
    Setup,
    agreement,
    in_turns,
    ratios,
    setups,
    summed_up,
)
from oarseg.benchmark.table import markdown
from oarseg.bundles import FOLDER
from oarseg.checksum import sha256 as file_sha256
from oarseg.compression import write_packed
from oarseg.errors import ConfigError, InputError, WeightsError
from oarseg.inference.engines.graph import names
from oarseg.inference.engines.stored import FILE as RANGES
from oarseg.inference.engines.stored import Row, write_table
from oarseg.networks import TwoStageNet, UNet3d
from oarseg.sites import load_site
from oarseg.training.weights import FILE, save_weights

pytestmark = pytest.mark.slow

SIZE = (24, 24, 24)


def small_site(path: Path) -> None:
    """The installed site table with narrow networks and coarse grids."""
    table = json.loads(path.read_text(encoding="utf-8"))
    table["localizer"] |= {"base_width": 2, "spacing_mm": [8, 8, 8]}
    for organ in table["organs"]:
        organ |= {"base_width": 2, "grid": [16, 16, 16]}
    path.write_text(json.dumps(table), encoding="utf-8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-stage bundle of small networks that find the brainstem everywhere, and nothing else."""
    root = tmp_path_factory.mktemp("models") / "small"
    (root / "configs").mkdir(parents=True)
    for name in ("inference.json", "metadata.json", "site.json"):
        (root / "configs" / name).write_bytes((FOLDER / "hn_ct_two_stage" / "configs" / name).read_bytes())
    small_site(root / "configs" / "site.json")
    torch.manual_seed(3)
    network = TwoStageNet.for_site(load_site(str(root / "configs" / "site.json")))
    with torch.no_grad():
        for part in (network.localizer, *network.organs.values()):
            part.head.weight.mul_(1e-3)
            part.head.bias.copy_(torch.tensor([0.0, 5.0] + [-5.0] * (len(part.head.bias) - 2)))
    checksum = save_weights(network.state_dict(), root / FILE)
    path = root / "configs" / "metadata.json"
    meta = json.loads(path.read_text(encoding="utf-8")) | {"weights_sha256": checksum}
    del meta["weights_parts"]
    path.write_text(json.dumps(meta), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soft tissue with some noise in air, 8 mm voxels."""
    hu = np.full(SIZE, -1000, np.int16)
    hu[3:-3, 3:-3, 3:-3] = np.random.default_rng(1).normal(30, 20, (18, 18, 18))
    path = tmp_path_factory.mktemp("ct") / "ct.nii.gz"
    nib.save(nib.Nifti1Image(hu, np.diag([-8.0, -8, 8, 1])), path)
    return path


@pytest.fixture(scope="module")
def measured(bundle: Path, ct: Path) -> tuple[dict, dict]:
    """Turns and the result of the reference and of PyTorch in float32, each once."""
    rows = setups(["torch:fp32"], [], bundle)
    turns = in_turns(ct, rows, 1, threads=1)
    return turns, summed_up(rows, turns)


@pytest.mark.slow
def test_every_figure_is_there(measured: tuple[dict, dict], bundle: Path) -> None:
    _, result = measured
    assert json.loads(json.dumps(result)) == result and result["repeats"] == 1
    assert result["ct"] == {"kind": "NIfTI", "size_voxels": list(SIZE), "spacing_mm": [8, 8, 8]}
    assert result["machine"]["processor"] and result["machine"]["versions"]["torch"] == torch.__version__
    reference, other = result["rows"]
    assert (reference["name"], reference["engine"], other["engine"]) == ("reference", None, "torch:fp32")
    assert reference["computed"] == "torch fp32, eager, contiguous" and other["computed"] == "torch fp32"
    assert other["name"] == "small, torch:fp32" and not other["compressed"]
    for row in result["rows"]:
        assert set(row["seconds"]) == {*STEPS, NETWORKS, "whole", CPU, PASSES_CPU, LOCALIZER_PASSES}
        assert 0 < row["seconds"][LOCALIZER_PASSES]["min"] < row["seconds"]["stage 1"]["min"]
        assert 0 < row["seconds"][PASSES_CPU]["min"] < row["seconds"][CPU]["min"]
        for step in ("stage 1", "stage 2", "load", "whole", CPU):
            assert 0 < row["seconds"][step]["min"] == row["seconds"][step]["median"] == row["seconds"][step]["all"][0]
        assert row["seconds"]["whole"]["min"] > row["seconds"][NETWORKS]["min"]
        assert row["model_bytes"] == (bundle / FILE).stat().st_size and 20 < row["peak_memory_mib"] < 20_000
        assert set(row["gflop_by_network"]) == {"localizer", "brainstem"}
        assert row["gflop"] == pytest.approx(sum(row["gflop_by_network"].values()), abs=2e-3)
        assert row["dice"]["organs"]["brainstem"] == row["dice"]["mean"] == row["dice"]["lowest"] == 1
        assert row["dice"]["organs"]["mandible"] is None
    assert reference["ratio"]["whole"] == {"min": 1, "median": 1}


@pytest.mark.slow
def test_the_passes_are_counted(measured: tuple[dict, dict], bundle: Path) -> None:
    turns, result = measured
    (size,) = turns["reference"][0].ended.answer["passes"]["brainstem"]
    assert size == [16, 16, 16]
    site = load_site(str(bundle / "configs" / "site.json"))
    counted = gflop(UNet3d(2, site.organ("brainstem").base_width), tuple(size))
    assert result["rows"][0]["gflop_by_network"]["brainstem"] == pytest.approx(counted, abs=1e-3)


@pytest.mark.slow
def test_the_table_names_every_row(measured: tuple[dict, dict]) -> None:
    text = markdown(measured[1])
    assert "NIfTI CT of 24 x 24 x 24 voxels" in text and "1 turn(s)" in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1
    assert lines[1].startswith("| reference | torch fp32, eager, contiguous |") and "| 1.0000 (1.0000) |" in lines[2]


def test_a_pass_by_counting_on_paper() -> None:
    assert gflop(nn.Conv3d(1, 4, 3, padding=1), (8, 8, 8)) == pytest.approx(2 * 27 * 4 * 512 / 1e9)


def test_compressed_networks_count_with_their_own_widths(tmp_path: Path) -> None:
    widths = {"encoder": [[3, 2], [5, 4]], "up": [3], "decoder": [[4, 2]]}
    network = UNet3d(2, widths=widths, mean=0.1, std=0.3)
    folder = tmp_path / "models" / "compressed"
    write_packed(folder / "brainstem.packed", network.state_dict())
    path = folder / "brainstem.packed"
    row = Row(path, file_sha256(path), 0.1, 0.3, dict.fromkeys(names(1), (0.0, 1.0)))
    write_table(folder / RANGES, "00", {"brainstem": row}, {})
    found = compressed_networks(tmp_path)
    assert gflop(found["brainstem"], (8, 8, 8)) == gflop(network, (8, 8, 8)) < gflop(UNet3d(2, 8, 1), (8, 8, 8))
    with pytest.raises(WeightsError, match="holds no compressed networks"):
        compressed_networks(tmp_path / "elsewhere")


def test_the_reference_changes_nothing() -> None:
    network = UNet3d(2, 2).eval()
    image = torch.rand(1, 1, 16, 16, 16).contiguous(memory_format=torch.channels_last_3d)
    ready = PlainTorch().ready(network.to(memory_format=torch.channels_last_3d))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = ready(image)
    assert found.dtype == torch.float32 and any(isinstance(m, nn.BatchNorm3d) for m in ready.modules())
    assert all(p.is_contiguous() for p in ready.parameters())
    with torch.no_grad():
        torch.testing.assert_close(found, network(image), atol=1e-4, rtol=1e-3)


def turn_of(whole: float, label: np.ndarray | None, organs: dict) -> object:
    from oarseg.benchmark.process import Ended
    from oarseg.benchmark.run import Turn

    return Turn(Ended({"organs": organs}, whole, whole), label, {"whole": whole})


def test_ratios_pair_the_turns() -> None:
    slow, quick = ([turn_of(s, None, {}) for s in seconds] for seconds in ((10, 40, 20), (5, 10, 4)))
    assert ratios(quick, slow, "whole") == {"min": 2.5, "median": 4.0}


def test_agreement_goes_by_the_organs_keys() -> None:
    ours, theirs = np.array([0, 2, 2, 0]), np.array([0, 1, 0, 0])
    found = agreement(turn_of(1, ours, {"a": 2, "b": 1}), turn_of(1, theirs, {"a": 1, "b": 2, "c": 3}))
    assert found == {"mean": round(2 / 3, 5), "lowest": round(2 / 3, 5), "organs": {"a": round(2 / 3, 5), "b": None}}
    nothing = agreement(turn_of(1, ours * 0, {"a": 1}), turn_of(1, ours * 0, {"a": 1}))
    assert nothing["mean"] is None and nothing["lowest"] is None


def test_every_turn_begins_with_another_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order = []
    monkeypatch.setattr("oarseg.benchmark.run.one_turn", lambda ct, row, *more, keep: order.append(row.name))
    rows = [Setup(name, tmp_path, None) for name in "abc"]
    in_turns(tmp_path, rows, 3, also=lambda: order.append("-"))
    assert "".join(order) == "abc-bca-cab-"


def test_rows_are_named_apart(bundle: Path, tmp_path: Path) -> None:
    twin = tmp_path / "other" / "small"
    twin.parent.mkdir()
    twin.symlink_to(bundle)
    rows = setups(["torch", "auto"], [twin], bundle)
    assert [row.name for row in rows] == ["reference", "small, torch", "small, auto"]


def test_what_cannot_be_measured_is_refused_before_the_work(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'tvm'"):
        setups(["tvm"], [], bundle)
    with pytest.raises(ConfigError, match="no engine to measure"):
        setups([], [], bundle)
    with pytest.raises(ConfigError, match="not a bundle"):
        setups(["torch"], [tmp_path], bundle)
    bare = tmp_path / "bare"
    (bare / "configs").mkdir(parents=True)
    for file in (bundle / "configs").iterdir():
        (bare / "configs" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(WeightsError, match="weights missing: .*bare"):
        setups(["torch"], [bare], bundle)
    with pytest.raises(InputError, match="nowhere.nii.gz does not exist"):
        in_turns(tmp_path / "nowhere.nii.gz", setups(["torch"], [], bundle), 1)


def test_a_process_that_fails_says_why(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(b"no image")
    rows = [dataclasses.replace(row, name="row") for row in setups(["torch"], [], bundle)][:1]
    with pytest.raises(RunError, match="row: ct.nii.gz cannot be read as NIfTI"):
        in_turns(tmp_path / "ct.nii.gz", rows, 1)
    for code, said in (
        ("import sys; sys.exit(5)", "row: ended with status 5"),
        ("import os; os.kill(os.getpid(), 9)", "row: ended with status -9"),
        ("pass", "row: ended with status 0"),
    ):
        with pytest.raises(RunError, match=said):
            run_process([sys.executable, "-c", code], {}, "row")
