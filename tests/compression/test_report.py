"""How the report shows the steps of a chain."""

from __future__ import annotations

from oarseg.compression.report_text import markdown


def _step(stage: str, name: str, settings: dict, **results: object) -> dict:
    base = {"dice": 0.7, "metrics": {"val_mean_dice": 0.7}, "steps": 5, "parameters": 1000}
    base |= {"bytes": 2**20, "sparsity": 0.25}
    return {"stage": stage, "name": name, "settings": settings, "results": base | results}


def test_markdown() -> None:
    organs = {"val_mean_dice": 0.61, "brainstem": 0.62}
    steps = [
        _step("start", "weights", {}, metrics=organs),
        _step("channels", "0.2", {"ratio": 0.2}, dice=0.61, bytes_removed=2**19, metrics=organs | {"brainstem": 0.6}),
        _step("remove", "structure", {}, bytes=2**18, parameters=250, largest_difference=1e-6),
        _step("threshold", "0.02", {"threshold": 0.02}, sparsity=0.4),
        _step("levels", "printed_31", {"levels": 31, "scheme": "printed"}, packed_bytes=3 * 2**18),
    ]
    layers = [{"layer": "head", "start": 12, "remove": 9, "threshold": 4}]
    text = markdown({"steps": steps, "layers": layers}, ["dice.png"])
    for line in (
        "Began at Dice 0.700 with 1000 parameters, 1.00 MiB.",
        "| channels 0.2 | 5 | 1000 | 0.250 | 0.50 | 0.610 |",
        "| remove structure | 5 | 250 | 0.250 | 0.25 | 0.700 |",
        "| threshold 0.02 | 5 | 1000 | 0.400 | 1.00 | 0.700 |",
        "| levels printed 31 | 5 | 1000 | 0.250 | 0.75 | 0.700 |",
        "| head | 12 | 9 | 4 |",
        "| all | 12 | 9 | 4 |",
        "| step | Brainstem |",
        "| start weights | 0.620 |",
        "| channels 0.2 | 0.600 |",
        "![dice.png](dice.png)",
    ):
        assert f"\n{line}\n" in text, line
    assert "ublished" not in text


def test_markdown_of_a_chain_that_has_only_begun() -> None:
    text = markdown({"steps": [_step("start", "weights", {})], "layers": [{"layer": "head", "start": 12}]}, [])
    assert "\n| head | 12 |\n" in text and "| start weights | 5 | 1000 | 0.250 | 1.00 | 0.700 |" in text
    # A network of one organ has no Dice of each organ.
    assert "## Dice of each organ" not in text
