"""The chain's report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oarseg.inference.engines.packed.layout import bits
from oarseg.sites import load_site

MIB = 2**20
LEGEND = """\
Dice: the bundle's own key metric on its validation cases, on the network's grid, of the averaged weights. MiB:
parameters at four bytes, or the packed file of quantized weights; of masked channels, once they are removed. Sparsity:
share of the kernels' weights that are zero. c: size saved over size before. s: time saved over time before."""
PUBLISHED = "Published: stage 1 of a {source}."
COSTS = (("flops", "GFLOP", 1e9), ("seconds", "seconds", 1), ("peak_gib", "peak GiB", 1))
KEY_METRIC = "val_mean_dice"
LAYERS = "Parameters of each layer"


def markdown(content: Mapping, figures: Sequence[str]) -> str:
    """Return ``report.md`` from the content of ``report.json``. ``figures``: names of the pictures beside it."""
    found = {"Steps": steps_table(content), LAYERS: _layers(content["layers"])}
    found = sections(content) if content["published"] else found
    parts = ["# Compression", start_line(content)]
    for title, text in found.items():
        parts += [f"## {title}", text]
    parts += [f"![{name}]({name})" for name in figures]
    parts.append(LEGEND)
    if content["published"]:
        parts.append(PUBLISHED.format(source=content["published"]["source"]))
    return "\n\n".join(parts) + "\n"


def start_line(content: Mapping) -> str:
    """Return a sentence on the network that the chain began with."""
    found = first(content)
    return f"Began at Dice {found['dice']:.3f} with {found['parameters']} parameters, {_mib(found['bytes'])} MiB."


def first(content: Mapping) -> Mapping:
    """Return the results of the step "start", which every chain begins with."""
    return content["steps"][0]["results"]


def sections(content: Mapping, controls: Mapping[str, Mapping] | None = None) -> dict[str, str]:
    """Return the report of stage 1 beside the published figures: text by title.

    Published rows are there whatever the chain did. ``controls``: contents of other chains by title.
    """
    controls = controls or {}
    steps = {stage: _of(content, stage) for stage in ("channels", "remove", "threshold", "levels")}
    published = content["published"]
    found = {
        "Channel pruning": _channels(content, controls),
        "Structure": _removal(content) if steps["remove"] else "",
        "Networks of fewer channels": _networks(content, controls) if controls else "",
        "Threshold pruning": _thresholds(steps["threshold"], published["threshold"]),
        "Levels": _levels(steps["levels"], published["levels"]),
        LAYERS: _layers(content["layers"]),
        "Dice of each organ": _organs(content["steps"]),
    }
    return {title: text for title, text in found.items() if text}


def steps_table(content: Mapping, controls: Mapping[str, Mapping] | None = None) -> str:
    """Return all steps of a chain, and of ``controls``, as one table."""
    rows = []
    for title, chain in {"": content, **(controls or {})}.items():
        for step in chain["steps"]:
            found = step["results"]
            name = f"{step['stage']} {step['name']}".replace("_", " ") + (f", {title}" if title else "")
            rows.append([name, found["steps"], found["parameters"], f"{found['sparsity']:.3f}", _size(found)])
            rows[-1].append(found["dice"])
    return table(["step", "retrained steps", "parameters", "sparsity", "MiB", "Dice"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a Markdown table; fractions with three decimals, nothing for None."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _of(content: Mapping, stage: str) -> list[Mapping]:
    return [step for step in content["steps"] if step["stage"] == stage]


def _names(steps: Sequence[Mapping], key: str, published: Mapping) -> list[str]:
    """Values of a setting that were tried or published, rising."""
    return sorted({f"{step['settings'][key]:g}" for step in steps} | set(published), key=float)


def _channels(content: Mapping, controls: Mapping[str, Mapping]) -> str:
    published = content["published"]
    start, theirs = first(content), published["start"]
    rows = [["0", 0, start["dice"], theirs["dice"], _mib(start["bytes"]), _published_mib(theirs)]]
    ours = {step["name"]: step["results"] for step in _of(content, "channels")}
    for name in _names(_of(content, "channels"), "ratio", published["channels"]):
        found, other = ours.get(name, {}), published["channels"].get(name, {})
        sizes = [_size(found), _published_mib(other)]
        rows.append([name, found.get("steps"), found.get("dice"), other.get("dice"), *sizes])
    for title, chain in controls.items():
        # With what it began with, which need not be what this chain did.
        pruned = _of(chain, "channels")
        if pruned:
            rows.append([f"0, {title}", 0, first(chain)["dice"], None, _mib(first(chain)["bytes"]), None])
        for step in pruned:
            found = step["results"]
            rows.append([f"{step['name']}, {title}", found["steps"], found["dice"], None, _size(found), None])
    return table(["ratio", "retrained steps", "Dice", "published", "MiB", "published"], rows)


def _removal(content: Mapping) -> str:
    before, after = first(content), _of(content, "remove")[0]["results"]
    published, costs = content["published"], content["costs"]
    theirs, cut = published["start"], published["channels"]["0.2"]
    saved = f"c = {1 - after['bytes'] / before['bytes']:.3f}"
    rows = [
        ["parameters", before["parameters"], after["parameters"], saved, None, None],
        ["MiB", _mib(before["bytes"]), _mib(after["bytes"]), None, _published_mib(theirs), _published_mib(cut)],
        ["Dice", before["dice"], after["dice"], None, theirs["dice"], cut["dice"]],
    ]
    note = f"Largest difference that the removal made to a logit: {after['largest_difference']:.1e}."
    for key, title, unit in COSTS:
        a, b = (costs["networks"][name][key] if costs else None for name in ("start", "remove"))
        gain = f"{'s = ' if key == 'seconds' else ''}{1 - b / a:.3f}" if costs else None
        ours = [f"{a / unit:.2f}", f"{b / unit:.2f}", gain] if costs else [None] * 3
        rows.append([title, *ours, theirs.get(key), cut.get(key)])
    if costs:
        size = " x ".join(str(n) for n in costs["size"])
        note += f" Time and memory: one pass at {size} voxels on a CPU; published: all of stage 1, on GPUs."
    head = ["", "before", "after", "saved", "published before", "published after, ratio 0.2"]
    return table(head, rows) + "\n\n" + note


def _networks(content: Mapping, controls: Mapping[str, Mapping]) -> str:
    """The network before and after the removal beside the controls' (as cut, or as they began)."""
    named = {"whole": content["steps"][0]}
    if removed := _of(content, "remove"):
        named["channels removed"] = removed[0]
    named |= {title: (_of(chain, "remove") or chain["steps"])[0] for title, chain in controls.items()}
    found = {name: step["results"] for name, step in named.items()}
    rows = [[name, row["parameters"], _mib(row["bytes"]), row["dice"]] for name, row in found.items()]
    return table(["network", "parameters", "MiB", "Dice"], rows)


def _thresholds(steps: Sequence[Mapping], published: Mapping) -> str:
    rows = []
    ours = {step["name"]: step["results"] for step in steps}
    for name in _names(steps, "threshold", published):
        found, other = ours.get(name, {}), published.get(name, {})
        shares = [found.get("sparsity"), other.get("sparsity")]
        rows.append([name, found.get("steps"), *shares, found.get("dice"), other.get("dice")])
    return table(["threshold", "retrained steps", "sparsity", "published", "Dice", "published"], rows)


def _levels(steps: Sequence[Mapping], published: Mapping) -> str:
    rows = []
    for scheme in dict.fromkeys(step["settings"]["scheme"] for step in steps) or ["printed"]:
        ours = {f"{s['settings']['levels']}": s["results"] for s in steps if s["settings"]["scheme"] == scheme}
        # The published tables are one scheme; other schemes stand beside the same published Dice.
        for name in sorted(set(ours) | (set(published) if scheme == "printed" else set()), key=int):
            found, other = ours.get(name, {}), published.get(name, {})
            size = [f"{bits(int(name)) / 32:.3f}", _size(found), _published_mib(other)]
            rows.append([name, scheme, found.get("steps"), *size, found.get("dice"), other.get("dice")])
    head = ["levels", "scheme", "retrained steps", "bits / 32", "MiB", "published", "Dice", "published"]
    return table(head, rows)


def _layers(rows: Sequence[Mapping]) -> str:
    """Parameters of every layer, as the published table 4-2 has them."""
    titles = {"start": "start", "remove": "channels removed", "threshold": "not zero after the threshold"}
    titles = {key: title for key, title in titles.items() if key in rows[0]}
    body = [[row["layer"], *(row[key] for key in titles)] for row in rows]
    body.append(["all", *(sum(row[key] for row in rows) for key in titles)])
    return table(["layer", *titles.values()], body)


def _organs(steps: Sequence[Mapping]) -> str:
    """Dice of each organ after each step; nothing for a network of one organ."""
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


def _size(found: Mapping) -> str | None:
    """Return the MiB of a step's weights: packed, without masked channels, or as they are."""
    count = found.get("packed_bytes", found.get("bytes_removed", found.get("bytes")))
    return None if count is None else _mib(count)


def _published_mib(row: Mapping) -> str | None:
    return f"{row['mib']:.2f}" if "mib" in row else None


def _mib(count: int) -> str:
    return f"{count / MIB:.2f}"
