"""Writing into a site table: the statistics, which are measured and not chosen."""

from __future__ import annotations

import json
import os
from pathlib import Path

from oarseg.errors import ConfigError


def write_statistics(table: Path, key: str, mean: float, std: float) -> list[str]:
    """Set ``mean`` and ``std`` of ``key`` ("localizer" or an organ) in the JSON file ``table``; returns the rows.

    An organ's twin gets the same: both are trained on both sides, mirrored.
    Raises ConfigError where the table has no such row.
    """
    content = json.loads(table.read_text(encoding="utf-8"))
    if key == "localizer":
        rows = {"localizer": content["localizer"]}
    else:
        rows = {row["key"]: row for row in content["organs"] if key in (row["key"], row["mirror"])}
    if key not in rows:
        raise ConfigError(f"{table.name} has no row {key!r}")
    for row in rows.values():
        row["mean"], row["std"] = mean, std
    temporary = table.with_suffix(".partial")
    temporary.write_text(table_text(content), encoding="utf-8")
    os.replace(temporary, table)
    return list(rows)


def table_text(content: dict) -> str:
    """JSON with one line for the localizer and one for each organ: a table that a person can read and compare."""
    head = [f"  {json.dumps(k)}: {json.dumps(v)}," for k, v in content.items() if k != "organs"]
    rows = ",\n".join(f"    {json.dumps(row)}" for row in content["organs"])
    return "\n".join(["{", *head, '  "organs": [', rows, "  ]", "}"]) + "\n"
