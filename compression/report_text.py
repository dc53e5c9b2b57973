"""The chain's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oarseg.sites import load_site

MIB = 2**20
LEGEND = """\
Dice: the bundle's own key metric on its validation cases, on the network's grid, of the averaged weights. MiB:
parameters at four bytes, or the packed file of quantized weights; of masked channels, once they are removed. Sparsity:
share of the kernels' weights that are zero."""
KEY_METRIC = "val_mean_dice"
LAYERS, ORGANS = "Parameters of each layer", "Dice of each organ"


def markdown(content: Mapping, figures: Sequence[str]) -> str:
    """Return ``report.md`` from the content of ``report.json``. ``figures``: names of the pictures beside it."""
    found = {"Steps": steps_table(content), LAYERS: layers_table(content["layers"])}
    if organs := organs_table(content["steps"]):
        found[ORGANS] = organs
    parts = ["# Compression", start_line(content)]
    for title, text in found.items():
        parts += [f"## {title}", text]
    parts += [*(f"![{name}]({name})" for name in figures), LEGEND]
    return "\n\n".join(parts) + "\n"


def start_line(content: Mapping) -> str:
    """Return a sentence on the network that the chain began with."""
    found = first(content)
    return f"Began at Dice {found['dice']:.3f} with {found['parameters']} parameters, {mib(found['bytes'])} MiB."


def first(content: Mapping) -> Mapping:
    """Return the results of the step "start", which every chain begins with."""
    return content["steps"][0]["results"]


def steps_table(content: Mapping, controls: Mapping[str, Mapping] | None = None) -> str:
    """Return all steps of a chain, and of ``controls``, as one table."""
    rows = []
    for title, chain in {"": content, **(controls or {})}.items():
        for step in chain["steps"]:
            found = step["results"]
            name = f"{step['stage']} {step['name']}".replace("_", " ") + (f", {title}" if title else "")
            rows.append([name, found["steps"], found["parameters"], f"{found['sparsity']:.3f}", size_of(found)])
            rows[-1].append(found["dice"])
    return table(["step", "retrained steps", "parameters", "sparsity", "MiB", "Dice"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a Markdown table; fractions with three decimals, nothing for None."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def layers_table(rows: Sequence[Mapping]) -> str:
    """Return the parameters of every layer as a table."""
    titles = {"start": "start", "remove": "channels removed", "threshold": "not zero after the threshold"}
    titles = {key: title for key, title in titles.items() if key in rows[0]}
    body = [[row["layer"], *(row[key] for key in titles)] for row in rows]
    body.append(["all", *(sum(row[key] for row in rows) for key in titles)])
    return table(["layer", *titles.values()], body)


def organs_table(steps: Sequence[Mapping]) -> str:
    """Return the Dice of each organ after each step as a table; nothing for a network of one organ."""
    keys = [key for key in steps[0]["results"]["metrics"] if key != KEY_METRIC]
    if not keys:
        return ""
    names = {organ.key: organ.name for organ in load_site().organs}
    body = [
        [f"{step['stage']} {step['name']}".replace("_", " "), *(step["results"]["metrics"].get(key) for key in keys)]
        for step in steps
    ]
    return table(["step", *(names.get(key, key) for key in keys)], body)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 1 else f"{value}"


def size_of(found: Mapping) -> str | None:
    """Return the MiB of a step's weights: packed, without masked channels, or as they are."""
    count = found.get("packed_bytes", found.get("bytes_removed", found.get("bytes")))
    return None if count is None else mib(count)


def mib(count: int) -> str:
    """Return a number of bytes as MiB."""
    return f"{count / MIB:.2f}"
