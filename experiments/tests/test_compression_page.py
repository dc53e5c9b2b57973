"""What is stored of chains, and the page made of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from experiments.compression.costs import FILE as COSTS
from experiments.compression.page import DOCS, PAGE, main
from experiments.compression.published import published
from experiments.compression.sizes import size_table
from experiments.compression.stored import RESULTS, bundles, read_stored
from oarseg.compression.figures import EDGES
from oarseg.errors import ConfigError, WeightsError
from oarseg.networks import UNet3d
from oarseg.training.weights import save_weights

LOCALIZER, ORGAN = bundles()[0], "eye_left_ct_segmentation"


def step(stage: str, name: str, settings: dict, dice: float, **more: object) -> dict:
    results = {"dice": dice, "metrics": {"val_mean_dice": dice, "brainstem": dice + 0.01}, "steps": 7}
    results |= {"parameters": 900, "bytes": 2**21, "sparsity": 0.125, "widths": {"up": [8]}}
    return {"stage": stage, "name": name, "settings": settings, "results": results | more}


@pytest.fixture
def chain() -> dict:
    """The report of a chain that made one step of each stage."""
    cost = {"flops": 4e9, "seconds": 2.0, "peak_gib": 1.5}
    return {
        "steps": [
            step("start", "weights", {}, 0.71),
            step("channels", "0.2", {"ratio": 0.2}, 0.69, bytes_removed=2**20),
            step("remove", "structure", {}, 0.69, bytes=2**20, largest_difference=1e-6, parameters=450),
            step("threshold", "0.02", {"threshold": 0.02}, 0.68, sparsity=0.375),
            step("levels", "printed_31", {"levels": 31, "scheme": "printed"}, 0.66, packed_bytes=2**18),
        ],
        "costs": {"size": [8, 8, 8], "networks": {"start": cost, "remove": cost | {"seconds": 1.5}}},
        "layers": [{"layer": "head", "start": 12, "remove": 9, "threshold": 4}],
        "histograms": {"start weights": [3] * (len(EDGES) - 1), "levels printed_31": [0] * 100 + [9] * 100},
        "published": published(),
    }


@pytest.fixture
def folders(chain: dict, tmp_path: Path) -> list[str]:
    """Options for a folder of results with three chains and sizes, and for one to write to."""
    random, organ = copy.deepcopy(chain), copy.deepcopy(chain)
    random["steps"] = random["steps"][:3]
    for found in random["steps"][1:]:
        found["results"]["dice"] = 0.51
    organ["steps"][-1]["results"]["dice"] = 0.83
    options = ["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]
    for name, content in {LOCALIZER: chain, f"{LOCALIZER}.random": random, ORGAN: organ}.items():
        folder = tmp_path / "chains" / name
        folder.mkdir(parents=True)
        report = {key: value for key, value in content.items() if key not in ("costs", "published")}
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
        (folder / COSTS).write_text(json.dumps(content["costs"]), encoding="utf-8")
        assert main(["--store", str(folder), name, *options]) == 0
    rows = [{"scheme": "printed", "levels": 31, "sparsity": 0.28, "bits": 2**21, "packed": 2**20}]
    sizes = {"weights_sha256": "abcdef" * 10, "bytes": 3 * 2**20, "rows": rows}
    (tmp_path / "results" / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")
    return options


def test_page_shows_ours_beside_theirs(folders: list[str], tmp_path: Path) -> None:
    assert main(folders) == 0
    text = (tmp_path / "docs" / PAGE).read_text(encoding="utf-8")
    for line in (
        "| 0 | 0 | 0.710 | 0.670 | 2.00 | 12.03 |",
        "| 0.05 |  |  |  |  | 11.00 |",
        "| 0.2 | 7 | 0.690 | 0.654 | 1.00 | 7.78 |",
        "| 0, random | 0 | 0.710 |  | 2.00 |  |",
        "| 0.2, random | 7 | 0.510 |  | 1.00 |  |",
        "| parameters | 900 | 450 | c = 0.500 |  |  |",
        "| seconds | 2.00 | 1.50 | s = 0.250 | 30 | 20 |",
        "| random | 450 | 1.00 | 0.510 |",
        "| 0.02 | 7 | 0.375 | 0.150 | 0.680 | 0.650 |",
        "| 2 | printed |  | 0.031 |  | 0.24 |  | 0.231 |",
        "| 31 | printed | 7 | 0.156 | 0.25 | 1.90 | 0.660 | 0.646 |",
        "| head | 12 | 9 | 4 |",
        "| step | Brainstem |",
        "| levels printed 31 | 0.670 |",
        "| 31 | printed | 0.280 | 2.00 | 1.00 |",
        "| levels printed 31 | 7 | 900 | 0.125 | 0.25 | 0.830 |",
    ):
        assert f"\n{line}\n" in text, line
    assert f"Published: stage 1 of a {published()['source']}." in text
    assert text.index(f"## Stage 1: {LOCALIZER}") < text.index("## Packed sizes") < text.index(f"### {ORGAN}")


def test_every_published_figure_has_its_place(folders: list[str], tmp_path: Path) -> None:
    """Also those with which nothing of ours compares yet."""
    main(folders)
    rows = [line.split(" | ") for line in (tmp_path / "docs" / PAGE).read_text(encoding="utf-8").splitlines()]
    theirs = published()
    for stage in ("channels", "threshold", "levels"):
        for name, figures in theirs[stage].items():
            shown = {cell.strip(" |") for row in rows if row[0] == f"| {name}" for cell in row}
            for key, digits in {"mib": 2, "dice": 3, "sparsity": 3}.items():
                assert key not in figures or f"{figures[key]:.{digits}f}" in shown, (stage, name, key)


@pytest.mark.slow
def test_page_is_the_same_again_and_its_pictures_small(folders: list[str], tmp_path: Path, capsys) -> None:
    assert main([*folders, "--check"]) == 1
    assert "compression.md is not what" in capsys.readouterr().out
    assert main(folders) == 0
    text = (tmp_path / "docs" / PAGE).read_text(encoding="utf-8")
    assert main(folders) == 0 and main([*folders, "--check"]) == 0
    assert (tmp_path / "docs" / PAGE).read_text(encoding="utf-8") == text
    pictures = sorted((tmp_path / "docs" / "figures").iterdir())
    assert [path.name for path in pictures] == [f"compression_{name}.png" for name in ("dice", "organs", "weights")]
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG") and 5_000 < path.stat().st_size < 100_000
        assert f"(figures/{path.name})" in text
    (tmp_path / "docs" / PAGE).write_text(text + "by hand", encoding="utf-8")
    assert main([*folders, "--check"]) == 1


def test_stored_without_widths(folders: list[str], tmp_path: Path, chain: dict) -> None:
    stored = read_stored(tmp_path / "results")
    assert list(stored) == [LOCALIZER, f"{LOCALIZER}.random", ORGAN]
    assert stored[LOCALIZER]["published"] and stored[ORGAN]["published"] is None
    for found in chain["steps"]:
        found["results"].pop("widths")
    assert stored[LOCALIZER] == chain


def test_a_chain_that_only_began(chain: dict, tmp_path: Path) -> None:
    """A narrow network, say: its weights and nothing else."""
    content = chain | {"steps": chain["steps"][:1], "layers": [{"layer": "head", "start": 12}]}
    content.pop("costs")
    options = ["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]
    (tmp_path / "report.json").write_text(json.dumps(content), encoding="utf-8")
    for name in (LOCALIZER, f"{LOCALIZER}.width16"):
        assert main(["--store", str(tmp_path), name, *options]) == 0
    assert main(options) == 0
    text = (tmp_path / "docs" / PAGE).read_text(encoding="utf-8")
    assert "| width16 | 900 | 2.00 | 0.710 |" in text and "### Structure" not in text
    assert "| 31 | printed |  | 0.156 |  | 1.90 |  | 0.646 |" in text


@pytest.mark.parametrize("name", ["lungs", "hn_ct_two_stage", f"{LOCALIZER}.", f"{LOCALIZER}.../x", "../x", ""])
def test_names_that_are_no_bundles(name: str, tmp_path: Path, chain: dict, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "report.json").write_text(json.dumps(chain), encoding="utf-8")
    assert main(["--store", str(tmp_path), name, "--results", str(tmp_path / "results")]) == 2
    assert "is not BUNDLE or BUNDLE.CONTROL" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_files_that_are_no_reports(tmp_path: Path, chain: dict, capsys: pytest.CaptureFixture) -> None:
    results = tmp_path / "results"
    assert main(["--results", str(results), "--docs", str(tmp_path)]) == 2
    assert "no chain is stored" in capsys.readouterr().err
    assert main(["--store", str(tmp_path), ORGAN, "--results", str(results)]) == 2
    assert "report.json is missing; run the chain" in capsys.readouterr().err
    for wrong in ("{", "[]", "{}", json.dumps(chain | {"steps": []}), json.dumps(chain | {"steps": [{"stage": "x"}]})):
        (tmp_path / "report.json").write_text(wrong, encoding="utf-8")
        assert main(["--store", str(tmp_path), ORGAN, "--results", str(results)]) == 2
        assert "is no report of a chain" in capsys.readouterr().err
    results.mkdir()
    (results / "other.json").write_text(json.dumps(chain), encoding="utf-8")
    with pytest.raises(ConfigError, match="'other' is not BUNDLE"):
        read_stored(results)
    (results / "other.json").rename(results / f"{ORGAN}.json")
    (results / "sizes.json").write_text('{"rows": [1]}', encoding="utf-8")
    assert main(["--results", str(results), "--docs", str(tmp_path)]) == 2
    assert "sizes.json is damaged" in capsys.readouterr().err


def test_sizes_of_shipped_weights(tmp_path: Path, shaken) -> None:
    network = shaken(UNet3d(3, 8, 2))
    save_weights(network.state_dict(), tmp_path / "model.pt")
    found = size_table(tmp_path / "model.pt", counts=(3, 31))
    assert [(row["scheme"], row["levels"]) for row in found["rows"]] == [
        (scheme, count) for scheme in ("printed", "layer", "channel") for count in (3, 31)
    ]
    assert found["bytes"] == 4 * sum(p.numel() for p in network.parameters())
    weights = sum(p.numel() for p in network.parameters() if p.ndim == 5)
    for row in found["rows"]:
        assert row["packed"] <= row["bits"] and 0 <= row["sparsity"] < 1
        assert row["bits"] > weights * {3: 2, 31: 5}[row["levels"]] / 8
    with pytest.raises(WeightsError, match="weights missing"):
        size_table(tmp_path / "none.pt")


def test_no_drift(capsys: pytest.CaptureFixture) -> None:
    if not read_stored(RESULTS):
        pytest.skip("no chain is stored")
    assert main(["--check", "--docs", str(DOCS)]) == 0, capsys.readouterr().out
