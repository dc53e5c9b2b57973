"""``docs/results.md``: rendered from stored scores and facts alone, so that no figure in it is typed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.ablation.plan import Plan, Table
from experiments.ablation.stage2 import stage2_section
from experiments.ablation.stored import (
    Stored,
    core_seconds,
    difference,
    exchanged,
    orders,
    published_mean,
    read_stored,
    well_covered,
)
from experiments.ablation.takeaway import takeaway
from experiments.scores.findings import failure_list, gains
from experiments.scores.tables import results_table, span, stored_rows
from oarseg.errors import ConfigError
from oarseg.evaluation.summary import LEAST_CASES, MeanStat, mean_over_organs, summarize
from oarseg.sites import Site, load_site

REPORT = Path(__file__).resolve().parents[2] / "docs" / "results.md"
# Rows of equal cost may differ by so much: whole epochs do not divide any finer.
COST_TOLERANCE = 0.1

HEAD = """\
# Results

How well the contours agree with those of clinicians and experts, what each part of the method adds, and how other
networks do at the same cost.
"""
RULES = """\
All scores are of validation cases that no network was trained on, against clinical and expert contours, on the original
grid. An organ that is not found scores 0. Intervals are 95 %, by bootstrap over cases. Each row is one training with
one random seed; the intervals do not include what another seed would change.

This page is written by `python -m experiments.ablation.run table` from the scores in `experiments/results`. Do not edit
it.
"""
SHIPPED = """\
## The shipped system

{table}

The next table puts published figures beside ours. The thesis used ten cases of one hospital and 6000 steps of training;
the two observers drew public expert contours. Neither used these patients: the figures show what is usual, not who is
better.

{beside}

What stage 2 adds, paired by case:

{gains}

{failures}
"""
METHOD = """\
## Ablations and other networks

Compare the rows with each other, not with the shipped weights: the training is short on purpose ({steps} steps of stage
1 unless a row says otherwise), so that anyone can repeat it on two cores.

- **Training.** Every row trains through `{bundles}`, from random weights, with the same cases, augmentation, crops
  ({crop} voxels), batch ({batch_size}), learning rate ({learning_rate}) and schedule.
- **Scoring.** The same code as for the shipped system scores stage 1 alone, over the whole scan, with the weights'
  running average. Rows that train the stage 2 of one organ use the boxes of another row's stage 1; that organ alone is
  scored, on both sides.
- **Cost.** Processor time of the training process on one core, reading the data included. It does not depend on what
  else ran.
- **Columns.** In brackets: the thesis. "Difference": mean over organs of the paired differences in Dice to the row
  named. Means are of all organs, and of those that {least} cases or more label; in a mean of all organs, an organ of
  one patient weighs as much as one of sixteen.
"""
EQUAL = """\
The method trains a localizer and five networks of stage 2 (right eye, optic nerve and parotid gland are their left
twins mirrored). The other networks see the same crops, cases and augmentation in one stage; instead of a stage 2 they
get more steps, for about as many core minutes. `{start}` is the stage 1 that the two stages start from."""
MEASURED = """\
### What a pass costs

One forward pass at {size} voxels (or the next size that the network's poolings divide), {precision}, {threads}
thread(s), median of {repeats} turns in which the networks alternate. The ratio is the median of the ratios within a
turn. Peak memory is that of a fresh process, libraries included. Command: `python -m experiments.ablation.run measure`.
"""
COMMANDS = """\
### Commands

`python -m experiments.ablation.run run ROW --dataset-dir DATASET` trains, segments, scores and stores one row; without
`ROW`, all rows. It runs these commands, with the overrides that it writes into the second config:"""


def report(plan: Plan, results: Path) -> str:
    """The whole page. ``results``: folder of the stored rows; the shipped system's scores lie in its parent."""
    site = load_site()
    stored = read_stored(plan, results, site)
    parts = [HEAD, takeaway(plan, stored, results.parent, site), RULES, _shipped(plan, results.parent, site)]
    parts.append(_method(plan))
    parts += [_section(table, plan, stored, site) for table in plan.tables]
    parts += [_measured(plan, results), stage2_section(results), _commands(plan, stored)]
    return "\n".join(part for part in parts if part)


def _shipped(plan: Plan, folder: Path, site: Site) -> str:
    names = {"stage1": ("stage 1", "stage 1"), "two_stage": ("two stages", "stage 2")}
    columns: dict[str, Mapping[str, float]] = {}
    for method, (title, column) in names.items():
        rows = stored_rows(method, folder)
        if rows:
            summary = summarize(rows, site)
            columns[f"{title}, here"] = {key: o.dice.mean for key, o in summary.organs.items() if o.dice}
            columns[f"{title}, here"] |= {"": mean_over_organs(rows).mean}
        columns[f"{title}, thesis"] = _with_mean(plan, column)
    columns["two observers"] = _with_mean(plan, "two observers")
    columns = {title: column for title, column in columns.items() if column}
    lines = [_line("organ", *columns), _rule(len(columns) + 1)]
    for key, name in [*((o.key, o.name) for o in site.organs), ("", "mean over organs")]:
        lines.append(_line(name, *(_number(column.get(key)) for column in columns.values())))
    details = {"gains": gains(folder, site), "failures": failure_list(folder, site)}
    return SHIPPED.format(table=results_table(site, folder), beside="\n".join(lines), **details)


def _with_mean(plan: Plan, column: str) -> dict[str, float]:
    dice = plan.published.get(column, {})
    return {**dice, "": published_mean(plan, column)} if dice else {}


def _method(plan: Plan) -> str:
    bundles = sorted({row.trainings["localizer"].bundle for row in plan.rows.values() if not row.localizer})
    crop = " x ".join(str(n) for n in plan.budget["crop"])
    shown = {key: plan.budget[key] for key in ("batch_size", "learning_rate", "steps")}
    return METHOD.format(bundles="`, `".join(bundles), crop=crop, least=LEAST_CASES, **shown)


def _section(table: Table, plan: Plan, stored: Mapping[str, Stored], site: Site) -> str:
    there = {name: stored[name] for name in table.rows if name in stored}
    missing = [name for name in table.rows if name not in stored]
    parts = [f"### {table.title}", table.note]
    if table.equal_cost:
        start = next((row.localizer for name in table.rows if (row := plan.rows[name]).localizer), "")
        parts.append(EQUAL.format(start=start))
    if there:
        parts += [_dice_table(table, plan, there, site), _cost_table(table, plan, stored)]
        parts += [_order(table, plan, there, organs) for organs in (None, well_covered(stored))]
        parts.append(_recipes(there.values()))
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _dice_table(table: Table, plan: Plan, there: Mapping[str, Stored], site: Site) -> str:
    against = there.get(table.against)
    counts = {key: o.n for row in there.values() for key, o in row.summary.organs.items()}
    organs = [o for o in site.organs if o.key in counts]
    covered = well_covered(there)
    apart = f"difference to `{table.against}`"
    few = f"mean of the {len(covered)} with {LEAST_CASES} cases or more"
    lines = [
        _line("row", "", f"mean of {len(organs)} organs", apart, few, apart, *(o.name for o in organs)),
        _rule(6 + len(organs)),
        _line("cases", "", "", "", "", "", *(str(counts[o.key]) for o in organs)),
    ]
    for name, row in there.items():
        column = plan.published.get(table.rows[name] or "", {})
        cells = []
        for organ in organs:
            found = row.summary.organs.get(organ.key)
            cells.append(_beside(found.dice.mean if found and found.dice else None, column.get(organ.key)))
        means = []
        for group in (None, covered):
            means.append(_mean(row.mean(group), published_mean(plan, table.rows[name], group)))
            means.append(_signed(difference(row, against, group)) if against and name != table.against else "-")
        lines.append(_line(f"`{name}`", row.title, *means, *cells))
    return "\n".join(lines)


def _cost_table(table: Table, plan: Plan, stored: Mapping[str, Stored]) -> str:
    lines = [_line("row", "steps", "core minutes", "last loss", "parameters"), _rule(5)]
    for name in table.rows:
        if name not in stored:
            continue
        parts = list(stored[name].facts["trainings"].values())
        first = stored[name].facts.get("localizer")
        if first in stored:
            parts = [*stored[first].facts["trainings"].values(), *parts]
        seconds = core_seconds(name, stored)
        steps = " + ".join(str(part["steps"]) for part in parts)
        loss = f"{parts[0]['final_loss']:.3f}" if len(parts) == 1 else "-"
        count = f"{sum(part['parameters'] for part in parts) / 1e6:.2f} M"
        lines.append(_line(f"`{name}`", steps, _number(seconds and seconds / 60, 1), loss, count))
    return "\n".join([*lines, *(["", text] if (text := _fairness(table, stored)) else [])])


def _fairness(table: Table, stored: Mapping[str, Stored]) -> str:
    """How far the costs of rows that should cost the same are apart."""
    if not table.equal_cost or table.against not in stored:
        return ""
    own = core_seconds(table.against, stored)
    start = stored[table.against].facts.get("localizer")
    others = {name: core_seconds(name, stored) for name in table.rows if name in stored}
    shares = {n: s / own - 1 for n, s in others.items() if s and own and n not in (table.against, start)}
    if not shares:
        return ""
    listed = ", ".join(f"`{name}` {share:+.0%}" for name, share in shares.items())
    uneven = [f"`{name}`" for name, share in shares.items() if abs(share) > COST_TOLERANCE]
    verdict = f" More than {COST_TOLERANCE:.0%} off, so not of equal cost: {', '.join(uneven)}." if uneven else ""
    return f"Core minutes against those of `{table.against}`: {listed}.{verdict}"


def _order(table: Table, plan: Plan, stored: Mapping[str, Stored], organs: list[str] | None) -> str:
    """Whether the order of the means is the thesis'."""
    here, there = orders(table, plan, stored, organs)
    if len(here) < 2:
        return ""
    which = "all organs" if organs is None else f"the organs with {LEAST_CASES} cases or more"
    both = f"Order by the mean of {which}, best first: {_named(here)} here, {_named(there)} in the thesis."
    pairs = exchanged(here, there)
    if not pairs:
        return f"{both} The same."
    sentences = []
    for better, worse in pairs:
        apart = difference(stored[better], stored[worse], organs)
        sentences.append(f"`{better}` is above `{worse}` here ({_signed(apart)}, {_sure(apart)}), below it there")
    return f"{both} **Different**: {'; '.join(sentences)}."


def _sure(apart: object) -> str:
    if apart is None or apart.low is None:
        return "chance not known: an organ has too few cases"
    return f"{'beyond' if apart.low > 0 else 'within'} the chance of these cases"


def _recipes(rows: object) -> str:
    recipes = {row.recipe for row in rows if row.recipe}
    if len(recipes) < 2:
        return ""
    return f"**These rows were trained with {len(recipes)} versions of the bundle's config; run them again.**"


def _measured(plan: Plan, results: Path) -> str:
    path = results / "measured.json"
    if not path.is_file():
        return ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reference = content["reference"]
        head = ("row", "", "parameters", "TFLOP", "seconds", f"times `{reference}`", "peak GiB")
        lines = [_line(*head), _rule(len(head))]
        for name, one in content["networks"].items():
            figures = (f"{one['parameters'] / 1e6:.2f} M", f"{one['tflop']:.3f}", f"{one['seconds']:.2f}")
            figures += (f"{one['ratio']:.2f}", f"{one['peak_gib']:.2f}")
            lines.append(_line(f"`{name}`", plan.rows[name].title if name in plan.rows else "", *figures))
        shown = {key: content[key] for key in ("precision", "threads", "repeats")}
        size = " x ".join(str(n) for n in content["size"])
        return "\n".join([MEASURED.format(size=size, **shown), *lines, ""])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path.name} is malformed: {error!r}; measure again") from error


def _commands(plan: Plan, stored: Mapping[str, Stored]) -> str:
    lines = [COMMANDS]
    for name in plan.rows:
        if name in stored:
            lines += ["", f"`{name}`:", "", "```bash"]
            for part in stored[name].facts["trainings"].values():
                lines += [f"# overrides: {json.dumps(part.get('overrides', {}))}", part["command"]]
            lines.append("```")
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _beside(value: float | None, published: float | None) -> str:
    return _number(value) + ("" if published is None else f" ({published:.3f})")


def _mean(stat: MeanStat | None, published: float | None) -> str:
    text = _beside(stat.mean if stat else None, published)
    return f"{text}, {span(stat)}" if stat and stat.low is not None else text


def _signed(stat: MeanStat | None) -> str:
    if stat is None:
        return "-"
    return f"{stat.mean:+.3f}" + (f" ({stat.low:+.3f} to {stat.high:+.3f})" if stat.low is not None else "")


def _named(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
