"""What is compared with what: ``plan.json``, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarseg.errors import ConfigError

PLAN = Path(__file__).resolve().parent / "plan.json"
RESULTS = Path(__file__).resolve().parents[1] / "results" / "ablations"


@dataclass(frozen=True)
class Training:
    """One run of a bundle's training. ``folder``: of the run, below the work directory. ``overrides``: config ids."""

    folder: str
    bundle: str
    overrides: Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    ``trainings``: of stage 1 (key "localizer"), or of the organs' networks by organ key, or of one network for all of
    them under any key. ``localizer``: the row whose stage 1 comes before the organs' networks; None where stage 1 is
    trained here and is all there is.
    """

    name: str
    title: str
    trainings: Mapping[str, Training]
    localizer: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of the report: ``rows`` with the published column each is compared with, or None.

    ``against``: the row that the others' differences are taken to. ``equal_cost``: its rows shall have cost what that
    row cost. ``note``: what a reader must know of its rows, in Markdown.
    """

    key: str
    title: str
    rows: Mapping[str, str | None]
    against: str
    equal_cost: bool = False
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """``rows`` by name, ``published`` Dice by column and organ key, ``tables``, and the common ``budget``."""

    rows: Mapping[str, Row]
    published: Mapping[str, Mapping[str, float]]
    tables: tuple[Table, ...] = ()
    budget: Mapping[str, object] = field(default_factory=dict)

    def chosen(self, names: list[str]) -> list[Row]:
        """The named rows, or all. Raises ConfigError for a name that is not in the plan."""
        unknown = [name for name in names if name not in self.rows]
        if unknown:
            raise ConfigError(f"no row {', '.join(unknown)} in the plan; it has: {', '.join(self.rows)}")
        return [row for row in self.rows.values() if not names or row.name in names]


def load_plan(path: str | Path = PLAN) -> Plan:
    """Read a plan. Raises ConfigError where it is missing, malformed or names what it does not have."""
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["name"]: _row(row, raw) for row in raw["rows"]}
        tables = tuple(Table(**table) for table in raw.get("tables", []))
        plan = Plan(rows, raw.get("published", {}), tables, raw["budget"])
    except FileNotFoundError as error:
        raise ConfigError(f"no plan at {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"plan {path.name} is malformed: {error!r}") from error
    _check(plan, [row["name"] for row in raw["rows"]], path.name)
    return plan


def _row(row: dict, raw: dict) -> Row:
    name = row["name"]
    if "organs" not in row:
        overrides = {**raw["budget"], "loss": raw["losses"][row["loss"]], **row.get("overrides", {})}
        return Row(name, row["title"], {"localizer": Training(name, row["bundle"], overrides)})
    # What a bundle of stage 2 has no use for is left out: the crop is stage 1's, the loss the bundle's own.
    common = {key: value for key, value in raw["budget"].items() if key != "crop"}
    trainings = {
        key: Training(f"{name}/{key}", part["bundle"], {**common, **part.get("overrides", {})})
        for key, part in row["organs"].items()
    }
    return Row(name, row["title"], trainings, row["localizer"])


def _check(plan: Plan, names: list[str], where: str) -> None:
    problems = [f"two rows are called {name}" for name in plan.rows if names.count(name) > 1]
    for row in plan.rows.values():
        if row.localizer and (row.localizer not in plan.rows or plan.rows[row.localizer].localizer):
            problems.append(f"{row.name} needs the stage 1 of {row.localizer!r}, which is no row that trains one")
    for table in plan.tables:
        lost = [name for name in table.rows if name not in plan.rows]
        lost += [table.against] if table.against not in table.rows else []
        lost += [column for column in table.rows.values() if column is not None and column not in plan.published]
        problems += [f"table {table.key} names {name!r}, which is neither its row nor published" for name in lost]
    if problems:
        raise ConfigError(f"plan {where}: " + "; ".join(problems))
