"""The head of ``docs/results.md``: what a reader should take away, with every figure from stored rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.ablation.plan import Plan, Table
from experiments.ablation.stored import Stored, difference, well_covered
from experiments.scores.tables import stored_rows
from oarseg.evaluation.compare import compare
from oarseg.evaluation.summary import LEAST_CASES, MeanStat, mean_over_organs
from oarseg.sites import Site

# Smaller brainstem contours than this are cut off: no other contour lies between it and 23 cm3.
WHOLE_BRAINSTEM_CM3 = 16.0
NARROW, WIDE = "long12", "long24"
LONG_ONE, LONG_TWO = "long24", "long_two_stage"
COMPRESSED = "compressed"


def takeaway(plan: Plan, stored: Mapping[str, Stored], folder: Path, site: Site) -> str:
    """Return the section as Markdown; sentences whose rows are not stored are left out.

    Args: ``stored``: rows of the ablations by name. ``folder``: of the shipped system's scores.
    """
    points = [*_shipped(folder, site), *_equal_cost(plan, stored), *_longer(stored), *_default_set(folder)]
    return "\n".join(["## What to take away", "", *(f"- {point}" for point in points), ""]) if points else ""


def _shipped(folder: Path, site: Site) -> list[str]:
    one, two = (stored_rows(method, folder) for method in ("stage1", "two_stage"))
    if not one or not two:
        return []
    means = [mean_over_organs(rows, "dice", LEAST_CASES) for rows in (one, two)]
    few = sorted({r["organ"] for r in two} - {r["organ"] for r in two if _cases(two, r["organ"]) >= LEAST_CASES})
    points = []
    if all(means):
        gain = _gain(one, two, site)
        points.append(
            f"**Two stages reach a mean Dice of {_span(means[1])} over the organs that {LEAST_CASES} cases or more "
            f"label; stage 1 alone reaches {means[0].mean:.3f}.** {gain}"
        )
    if few:
        names = ", ".join(site.organ(key).name for key in few)
        points.append(
            f"**{names} have a reference in too few cases to be measured.** Read their rows as an example. The "
            "expert contours that score them also helped to make training labels of other patients."
        )
    points.append(
        "**Expect somewhat lower scores on other patients.** No network was trained on these patients, but some "
        "choices were made after their scores had been seen: for each organ the better of two trained networks ships, "
        "and most networks are means over their training phases. The model cards say which."
    )
    return [*points, *_brainstem(two)]


def _brainstem(rows: Sequence[Mapping]) -> list[str]:
    """The part of the error that lies in references which show only part of the organ."""
    rows = [row for row in rows if row["organ"] == "brainstem"]
    whole = [row["dice"] for row in rows if row["reference_cm3"] >= WHOLE_BRAINSTEM_CM3]
    if not whole or len(whole) == len(rows):
        return []
    return [
        f"**References limit the score of the brainstem.** In {len(rows) - len(whole)} of {len(rows)} patients the "
        f"clinical contour holds less than {WHOLE_BRAINSTEM_CM3:g} cm3, so part of the organ is missing in it. Over "
        f"the other {len(whole)} the mean Dice is {sum(whole) / len(whole):.3f}."
    ]


def _equal_cost(plan: Plan, stored: Mapping[str, Stored]) -> list[str]:
    table = next((table for table in plan.tables if table.equal_cost and table.against in stored), None)
    if table is None:
        return []
    rows = {name: stored[name].mean() for name in _compared(table, plan, stored)}
    ordered = sorted((name for name, mean in rows.items() if mean), key=lambda name: -rows[name].mean)
    if len(ordered) < 2:
        return []
    figures = ", ".join(f"{stored[name].title} {rows[name].mean:.3f}" for name in ordered)
    text = f"**After a short training of about equal cost, the mean Dice over all organs is:** {figures}."
    second = next(name for name in ordered if name != table.against)
    apart = difference(stored[second], stored[table.against], well_covered(stored))
    if apart:
        text += (
            f" Over the organs with {LEAST_CASES} cases or more, {stored[second].title} differs from "
            f"{stored[table.against].title} by {_signed(apart)}."
        )
    return [text]


def _compared(table: Table, plan: Plan, stored: Mapping[str, Stored]) -> list[str]:
    """Rows of an equal-cost table without those that another row of it begins with."""
    starts = {plan.rows[name].localizer for name in table.rows}
    known = [name for name in table.rows if name in stored and name not in starts]
    steps = {name: sum(part["steps"] for part in stored[name].facts["trainings"].values()) for name in known}
    # A row of the small budget stands in the table for its order in the thesis, not for its cost.
    return [name for name in known if steps[name] > plan.budget["steps"]]


def _longer(stored: Mapping[str, Stored]) -> list[str]:
    points = []
    covered = well_covered(stored)
    if LONG_ONE in stored and LONG_TWO in stored:
        apart = difference(stored[LONG_TWO], stored[LONG_ONE], covered)
        points.append(
            f"**After a longer training of both, stage 2 adds** {_signed(apart)} over these organs "
            f"(`{LONG_TWO}` against `{LONG_ONE}`)."
        )
    if NARROW in stored and WIDE in stored:
        small, large = (_parameters(stored[name]) for name in (NARROW, WIDE))
        apart = difference(stored[NARROW], stored[WIDE], covered)
        points.append(
            f"**A localizer with {small / large:.0%} of the parameters is no worse** after as many steps: "
            f"{_signed(apart)} (`{NARROW}` against `{WIDE}`)."
        )
    return points


def _default_set(folder: Path) -> list[str]:
    plain, small = stored_rows("two_stage", folder), stored_rows("two_stage", folder / COMPRESSED)
    if not plain or not small:
        return []
    first, second = mean_over_organs(plain), mean_over_organs(small)
    return [
        "**All tables are of the original networks (`--engine torch`).** CPUs run a compressed set in 8 bits by "
        f"default; its mean Dice over all organs is {second.mean:.3f}, against {first.mean:.3f} "
        "([organ by organ](compression.md))."
    ]


def _gain(one: Sequence[Mapping], two: Sequence[Mapping], site: Site) -> str:
    rows = [row for row in compare(one, two, site).differences if row.measure == "dice" and row.low is not None]
    mean = next((row for row in reversed(rows) if row.organ not in site.values), None)
    if mean is None:
        return ""
    return f"Paired by case, stage 2 adds {mean.difference:+.3f} ({mean.low:+.3f} to {mean.high:+.3f})."


def _cases(rows: Sequence[Mapping], organ: str) -> int:
    return sum(row["organ"] == organ for row in rows)


def _parameters(row: Stored) -> int:
    return sum(part["parameters"] for part in row.facts["trainings"].values())


def _span(mean: MeanStat) -> str:
    return f"{mean.mean:.3f}" + (f" ({mean.low:.3f} to {mean.high:.3f})" if mean.low is not None else "")


def _signed(mean: MeanStat | None) -> str:
    if mean is None:
        return "no case in common"
    return f"{mean.mean:+.3f}" + (f" ({mean.low:+.3f} to {mean.high:+.3f})" if mean.low is not None else "")
