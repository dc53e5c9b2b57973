"""Site tables as text, as the shipped ones are written."""

from __future__ import annotations

import json


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
