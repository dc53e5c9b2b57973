"""What chains came to, stored: ``results/BUNDLE.json``, and ``results/BUNDLE.CONTROL.json`` for chains to compare with.

A control is a chain of the same bundle by another way to as small a network: ``--ranking random``, or one that began
(``--start``) with the weights of a narrow network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from experiments.compression.costs import FILE as COSTS
from experiments.compression.published import published
from oarseg.bundles.spec import bundle_specs
from oarseg.compression.report import JSON
from oarseg.errors import ConfigError
from oarseg.files import write_text
from oarseg.sites import load_site

RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("steps", "costs", "layers", "histograms")
CONTROL = re.compile(r"[a-z0-9_]+")


def store(folder: Path, name: str, results: Path = RESULTS) -> Path:
    """Copy the report in a chain's ``folder``, and its costs if measured, to ``results``; return the path.

    Widths are left out: the weights tell them.

    Raises ConfigError where the folder holds no report, or ``name`` is no bundle's.
    """
    bundle_of(name)
    content, costs = _read(folder / JSON), folder / COSTS
    if costs.is_file():
        content["costs"] = json.loads(costs.read_text(encoding="utf-8"))
    for step in content["steps"]:
        step["results"].pop("widths", None)
    write_text(results / f"{name}.json", _text({part: content[part] for part in PARTS}))
    return results / f"{name}.json"


def read_stored(results: Path = RESULTS) -> dict[str, dict]:
    """Contents by name, in the bundles' order; the localizer's with the published figures, others with None.

    Raises ConfigError where a file is damaged or of no bundle.
    """
    names = sorted(path.stem for path in results.glob("*.json") if path.stem != "sizes")
    order, theirs = bundles(), published()
    found = {}
    for name in sorted(names, key=lambda name: order.index(bundle_of(name))):
        found[name] = _read(results / f"{name}.json") | {"published": theirs if bundle_of(name) == order[0] else None}
    return found


def controls_of(stored: Mapping[str, dict], bundle: str) -> dict[str, dict]:
    """The stored controls of a bundle, by title."""
    return {
        name.partition(".")[2].replace("_", " "): content
        for name, content in stored.items()
        if name.startswith(f"{bundle}.")
    }


def bundles() -> list[str]:
    """Names of the bundles that can be compressed: the localizer first, then the organs'."""
    return [spec.name for spec in bundle_specs(load_site()) if spec.kind != "two_stage"]


def bundle_of(name: str) -> str:
    """The bundle that ``name`` (BUNDLE or BUNDLE.CONTROL) is of. Raises ConfigError where it is no such name."""
    bundle, dot, control = name.partition(".")
    if bundle not in bundles() or (dot and not CONTROL.fullmatch(control)):
        raise ConfigError(f"{name!r} is not BUNDLE or BUNDLE.CONTROL, where BUNDLE is one of {', '.join(bundles())}")
    return bundle


def _read(path: Path) -> dict:
    try:
        content = {"costs": {}} | json.loads(path.read_text(encoding="utf-8"))
        parts = [content[part] for part in PARTS]
        steps = [(s["name"], s["settings"], s["results"]["metrics"], float(s["results"]["dice"])) for s in parts[0]]
        if not steps or parts[0][0]["stage"] != "start":
            raise ValueError("no start")
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is missing; run the chain, or oarseg compress report FOLDER") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is no report of a chain ({error!r}); write it anew") from error
    return content


def _text(content: Mapping) -> str:
    """JSON with a line for each step, layer and histogram, so that versions compare well."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(item) for item in value)
            parts.append(f' "{key}": [\n{lines}\n ]')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
