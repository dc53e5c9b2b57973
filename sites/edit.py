"""Writing into a site table: the statistics, which are measured and not chosen."""

from __future__ import annotations

import json
import os
from pathlib import Path

from oarseg.errors import ConfigError
from oarseg.sites.table import load_site


def write_statistics(table: Path, key: str, mean: float, std: float) -> list[str]:
    """Set ``mean`` and ``std`` of ``key`` ("localizer" or an organ) in the JSON file ``table``; returns the rows.

    On a symmetric site an organ's twin gets the same: both are trained on both sides, mirrored.
    Raises ConfigError where the table is none, or has no such row.
    """
    symmetric = load_site(str(table)).symmetric
    content = json.loads(table.read_text(encoding="utf-8"))
    if key == "localizer":
        rows = {"localizer": content["localizer"]}
    else:
        twins = {key} | {row["mirror"] for row in content["organs"] if row["key"] == key and symmetric}
        rows = {row["key"]: row for row in content["organs"] if row["key"] in twins}
    if key not in rows:
        raise ConfigError(f"{table.name} has no row {key!r}")
    for row in rows.values():
        row["mean"], row["std"] = mean, std
    temporary = table.with_suffix(".partial")
    temporary.write_text(table_text(content), encoding="utf-8")
    os.replace(temporary, table)
    return list(rows)


def table_text(content: dict) -> str:
    """JSON with one line for the localizer and one for each source and organ, for a person to read and compare."""
    lines = []
    for name in (*(n for n in content if n != "organs"), "organs"):
        value = content[name]
        if name in ("organs", "sources"):
            rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f'  "{name}": [\n{rows}\n  ]')
        else:
            lines.append(f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
