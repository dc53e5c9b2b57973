"""Where a bundle lies. MONAI does not tell a config its own path, and ``"."`` holds in the bundle's folder only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from oarseg.errors import ConfigError

FOLDER = Path(__file__).resolve().parent


def root(name: str) -> str:
    """Folder of the bundle ``name``: the command line's ``--config_file``'s, the current one, or the installed one.

    So a downloaded copy is used by its config's path or from inside it, and everything else uses what came with oarseg.
    ``--bundle_root`` overrides all of it. Raises ConfigError where there is none.
    """
    for folder in (*_of_command_line(), Path.cwd(), FOLDER / name):
        if _name_in(folder) == name:
            return str(folder)
    raise ConfigError(f"no bundle {name!r} is installed; give its folder with --bundle_root")


def name_of(folder: str) -> str:
    """The name of the bundle in ``folder``: for configs that are read without ``_meta_``, as MONAI Label reads them.

    Raises ConfigError where no bundle lies there.
    """
    name = _name_in(Path(folder))
    if not name:
        raise ConfigError(f"no bundle in {folder}: configs/metadata.json is missing or names none")
    return name


def _of_command_line() -> Iterator[Path]:
    """Folders of the bundles whose config files the command line names (``--config_file a`` or ``"['a','b']"``)."""
    text = "\n".join(sys.argv)
    for match in re.finditer(r"--config_file[=\n]([^\n]+)", text):
        for path in re.findall(r"[^\[\]'\",]+\.(?:json|yaml|yml)", match.group(1)):
            yield Path(path.strip()).resolve().parent.parent


def _name_in(folder: Path) -> str | None:
    try:
        return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        return None
