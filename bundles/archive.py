"""A bundle as one zip, ``<name>_v<version>.zip``: which files go in, and the same bytes for the same files."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from oarseg.bundles.render import render
from oarseg.bundles.spec import BundleSpec
from oarseg.bundles.weights import assembled, write_together
from oarseg.checksum import FILE, METADATA, verified
from oarseg.errors import ConfigError

# The set that CPUs use by default: packed weights, and the ranges by which they run in 8 bits.
COMPRESSED = ("models/compressed/*.packed", "models/compressed/ranges.json")
# MONAI takes a name and a version apart at "_v".
VERSION = re.compile(r"\d+(?:\.\d+)*")
# The earliest date that a zip can hold.
DATE = (1980, 1, 1, 0, 0, 0)


def version_of(spec: BundleSpec, folder: Path) -> str:
    """Return the version in a bundle's metadata. Raises ConfigError where name or version are not what they must be."""
    try:
        meta = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        name, version = meta["name"], meta["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / METADATA} cannot be read: {error}; run: oarseg bundles sync") from error
    if name != spec.name or not VERSION.fullmatch(str(version)):
        raise ConfigError(f"{folder / METADATA}: {name!r} {version!r}, expected {spec.name!r} and a version like 1.2.3")
    if "_v" in name:
        raise ConfigError(f"MONAI cannot download {name!r}: it cuts names at '_v'; change the site table")
    return str(version)


def own_files(spec: BundleSpec, folder: Path, work: Path) -> dict[str, Path]:
    """Return the files of a bundle by their path within it, sorted: what is rendered, and its weights.

    A two-stage bundle without a weight file gets one, made in the folder ``work``, from the bundles beside it.
    Whatever else lies there (runs, results, other weights) is somebody's own and may show patients: it is no part.
    Raises ConfigError where a rendered file is missing, WeightsError where there are no weights or not those that the
    metadata name.
    """
    verified(folder)
    files = {name: folder / name for name in [*render(spec, folder), FILE]}
    if spec.kind == "two_stage" and not files[FILE].is_file():
        write_together(spec, folder.parent, work, assembled(spec.site, folder.parent))
        files |= {name: work / name for name in (FILE, METADATA)}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise ConfigError(f"{folder} lacks {', '.join(missing)}; run: oarseg bundles sync")
    files |= {path.relative_to(folder).as_posix(): path for pattern in COMPRESSED for path in folder.glob(pattern)}
    return dict(sorted(files.items()))


def left_out(folder: Path, files: Iterable[str]) -> list[str]:
    """Return what lies in a bundle's folder beside ``files`` and is neither hidden nor a cache, sorted.

    A folder of which nothing is in ``files`` stands for all that it holds.
    """
    known, found = set(files), set()
    for file in tuple(known):
        known.update(parent.as_posix() for parent in PurePosixPath(file).parents)
    for path in folder.rglob("*"):
        name = PurePosixPath(path.relative_to(folder).as_posix())
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if not hidden and str(name) not in known and name.parent.as_posix() in known:
            found.add(str(name))
    return sorted(found)


def write_zip(name: str, files: Mapping[str, Path], target: Path) -> None:
    """Write ``files`` into a zip under their names, below the top folder ``name``, where MONAI looks for them.

    They are stored, not deflated: that would save a twelfth, and its bytes differ between versions of zlib. Dates and
    permissions are fixed, so that a checksum tells whether two trees are the same.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file, path in files.items():
            info = zipfile.ZipInfo(f"{name}/{file}", DATE)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, path.read_bytes())
