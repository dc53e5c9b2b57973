"""Where a bundle lies. MONAI does not tell a config its own path, and ``"."`` holds in the bundle's folder only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from oarseg.checksum import read_metadata
from oarseg.errors import ConfigError

FOLDER = Path(__file__).resolve().parent


def root(name: str) -> str:
    """Return the folder of the bundle ``name``: of the config that MONAI runs, the current one, or the installed one.

    So a downloaded copy is used by its config's path or from inside it, and everything else uses what came with oarseg.
    ``--bundle_root`` overrides all of it. Raises ConfigError where there is none.
    """
    for folder in (*_run_by_monai(), Path.cwd(), FOLDER / name):
        if _name_in(folder) == name:
            return str(folder)
    raise ConfigError(f"no bundle {name!r} is installed; give its folder with --bundle_root")


def where(name: str | None = None) -> Path:
    """Return the folder of the installed bundles, or that of one of them. Raises ConfigError where it is unknown."""
    if name is None:
        return FOLDER
    if _name_in(FOLDER / name) != name:
        known = ", ".join(sorted(path.parents[1].name for path in FOLDER.glob("*/configs/metadata.json")))
        raise ConfigError(f"no bundle {name!r} is installed; there are: {known}")
    return FOLDER / name


def changeable(root: Path | None, installed: bool = False) -> Path:
    """Return the folder of the bundles to change: ``root``, or oarseg's own where it is a checkout or ``installed``.

    Raises ConfigError for the bundles of an installed package, which everybody who uses it contours with.
    """
    checkout = (FOLDER.parent / "setup.cfg").is_file()
    if not (checkout or installed) and (root is None or root.resolve() == FOLDER):
        raise ConfigError(
            f"the bundles of the installed oarseg ({FOLDER}) stay as they are; copy them and give the copy with "
            "--root, or give --installed to change them for all who use this installation"
        )
    return FOLDER if root is None else root


def name_of(folder: str) -> str:
    """Return the name of the bundle in ``folder``: for configs that are read without ``_meta_``, as by MONAI Label.

    Raises ConfigError where no bundle lies there.
    """
    name = _name_in(Path(folder))
    if not name:
        raise ConfigError(f"no bundle in {folder}: configs/metadata.json is missing or names none")
    return name


def _run_by_monai() -> Iterator[Path]:
    """Folders of bundles that MONAI runs, the latest first.

    Before a workflow runs, MONAI puts its bundle's folder, as it was given, on Python's path, in the second place (the
    first is the script's or the current folder). A config file that was given by its name alone is taken for one
    in the current folder, its bundle.
    """
    for entry in sys.path[1:]:
        folder = Path(entry).absolute()
        yield folder.parent if folder.name == "configs" else folder


def _name_in(folder: Path) -> str | None:
    name = read_metadata(folder).get("name")
    return name if isinstance(name, str) else None
