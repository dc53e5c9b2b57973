"""What the stored scores of the shipped system say beyond their means: what stage 2 adds, and where it fails."""

from __future__ import annotations

from pathlib import Path

from experiments.scores.tables import stored_rows
from oarseg.evaluation.compare import compare
from oarseg.evaluation.tables import FAR_MM, POOR_DICE, failures
from oarseg.sites import Site

HEADER = """\
| organ | cases | {} | {} | difference | 95 % interval | p (Wilcoxon, Holm) |
|---|---|---|---|---|---|---|"""


def gains(folder: Path, site: Site) -> str:
    """Markdown: Dice of both stages against stage 1, paired by case; empty where one of them is not stored."""
    one, two = (stored_rows(method, folder) for method in ("stage1", "two_stage"))
    return paired(one, two, ("stage 1", "two stages"), site) if one and two else ""


def paired(before: list[dict], after: list[dict], titles: tuple[str, str], site: Site) -> str:
    """Markdown: Dice of ``after`` against ``before``, paired by case, by organ and over organs."""
    names = {organ.key: organ.name for organ in site.organs}
    lines = [HEADER.format(*titles)]
    for row in compare(before, after, site).differences:
        if row.measure == "dice":
            span = f"{row.low:+.3f} to {row.high:+.3f}" if row.low is not None else "-"
            p = f"{row.p_holm:.2g}" if row.p_holm is not None else "-"
            figures = f"{row.mean_a:.3f} | {row.mean_b:.3f} | {row.difference:+.3f} | {span} | {p}"
            lines.append(f"| {names.get(row.organ, row.organ)} | {row.pairs} | {figures} |")
    return "\n".join(lines)


def failure_list(folder: Path, site: Site) -> str:
    """Markdown: by case, what of both stages' result a person should look at; empty where nothing is stored."""
    rows = stored_rows("two_stage", folder)
    if not rows:
        return ""
    found = failures(rows)
    swapped = sum(bool(row["swapped"]) for row in rows)
    far = sum(row["centroid_mm"] is not None and row["centroid_mm"] > FAR_MM for row in rows)
    missed = sum(row["status"] == "missed" for row in rows)
    lines = [
        f"Of {len(rows)} organs in {len({row['case'] for row in rows})} cases {missed} were missed, {swapped} had left "
        f"and right exchanged, and {far} had a centroid more than {FAR_MM:g} mm off. These, and those with a Dice "
        f"below {POOR_DICE:g}, are {len(found)}:",
        "",
    ]
    volumes = {(row["case"], row["organ"]): row for row in rows}
    for case, organ, what in found:
        row = volumes[case, organ]
        size = f"reference {row['reference_cm3']:.1f} cm3, found {row['predicted_cm3']:.1f} cm3"
        lines.append(f"- {case}, {site.organ(organ).name}: {what} ({size})")
    return "\n".join(lines if found else [*lines, "- none"])
