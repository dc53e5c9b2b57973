"""Unpacks a bundle's zip that came from elsewhere: checked first, then put into place as a whole or not at all."""

from __future__ import annotations

import errno
import json
import re
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

from oarseg.bundles import model_info
from oarseg.bundles.fetch import base_name, download, is_url
from oarseg.bundles.staged import put, staging
from oarseg.checksum import FILE, sha256, verified
from oarseg.errors import ConfigError, InputError, OutputError, WeightsError

FILE_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w-]*)_v(?P<version>\d+(?:\.\d+)*)\.zip")
REQUIRED = ("LICENSE", "configs/metadata.json", "configs/inference.json", FILE)
# Far above any bundle's; a zip of a few kilobytes can hold terabytes of zeros.
MAX_BYTES, MAX_FILES = 1 << 30, 1000
# Bytes of an entry's name, and of a part of it, that every system takes.
MAX_PATH, MAX_PART = 500, 200
# What zipfile raises on damaged files: ValueError for places and names, struct.error for what is cut short.
_DAMAGED = (
    zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip
LISTS = (model_info.NAME, f"models/{model_info.NAME}")


def unpack(source: str, into: Path, checksum: str | None = None, overwrite: bool = False) -> tuple[Path, str]:
    """Put the bundle in a zip into the folder ``into``; return the bundle's folder and its version.

    Args: ``source``: path or http(s) address of ``<name>_v<version>.zip``. ``checksum``: SHA-1 or SHA-256 of the zip,
    in hex; without one it is looked up in the ``model_info.json`` beside the zip. ``overwrite``: replace the folder of
    an earlier copy, with all that is in it.
    Raises InputError where the zip cannot be read or downloaded, WeightsError where it or its weights are damaged or
    not those of the checksum, ConfigError where it holds something else than the one bundle that its name says,
    OutputError where the bundle's folder exists or cannot be written. Nothing is left behind then.
    """
    match = FILE_NAME.fullmatch(base_name(source))
    if not match:
        raise ConfigError(f"{base_name(source)!r} is not called <name>_v<version>.zip, as a packed bundle is")
    name, version = match["name"], match["version"]
    target = into / name
    if (target.exists() or target.is_symlink()) and not overwrite:
        raise OutputError(f"{target} exists; give another folder, or --overwrite to replace it with all that is in it")
    if not is_url(source) and not Path(source).is_file():
        raise InputError(f"no file {source}; give the path or the http(s) address of a packed bundle")
    with staging(into) as work:
        expected = _normal(checksum) if checksum else _listed(source, match[0].removesuffix(".zip"), work)
        path = _downloaded(source, work) if is_url(source) else Path(source)
        _check_sum(path, expected)
        new = work / "new"
        _extract(path, name, new)
        _check_bundle(new / name, name, version)
        put(new / name, target, work)
    return target, version


def _normal(checksum: str) -> str:
    text = checksum.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
        raise ConfigError(f"{checksum!r} is no checksum: expected 40 (SHA-1) or 64 (SHA-256) hexadecimal digits")
    return text


def _listed(source: str, key: str, work: Path) -> str:
    """Return the checksum that the list beside the zip names. Raises ConfigError where there is none."""
    for place in LISTS:
        if is_url(source):
            where, path = urljoin(source, place), work / model_info.NAME
            if not download(where, path, MAX_BYTES):
                continue
        else:
            where = path = Path(source).parent / place
        if path.is_file():
            info = model_info.parse(path.read_bytes(), str(where))
            if key not in info:
                raise ConfigError(f"{where} does not list {key}; give its checksum with --checksum")
            return _normal(str(info[key]["checksum"]))
    raise ConfigError(f"no {model_info.NAME} lies beside {base_name(source)}; give its checksum with --checksum")


def _downloaded(url: str, work: Path) -> Path:
    path = work / "downloaded.zip"
    if not download(url, path, MAX_BYTES):
        raise InputError(f"cannot download {url}: the server has no such file")
    return path


def _check_sum(path: Path, expected: str) -> None:
    found = sha256(path) if len(expected) == 64 else model_info.sha1(path)
    if found != expected:
        raise WeightsError(f"the zip has checksum {found}, expected {expected}: damaged, incomplete or another one")


def _extract(path: Path, name: str, folder: Path) -> None:
    """Write the files of a zip below ``folder``, once all of its names and sizes are checked."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in _checked(archive, name):
                place = folder / info.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                # Reads as many bytes as the size that was checked, and compares them with their CRC.
                with archive.open(info) as packed, open(place, "xb") as file:
                    shutil.copyfileobj(packed, file)
    except _DAMAGED as error:
        raise WeightsError(f"the zip is damaged or incomplete: {error}") from error
    except OSError as error:
        # A place before the file's begin; what else the system says is about the folder.
        if error.errno == errno.EINVAL:
            raise WeightsError("the zip is damaged or incomplete: it names a place outside of it") from error
        raise


def _checked(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    """Return the entries that are files. Raises ConfigError where one is no plain file inside the folder ``name``."""
    entries = archive.infolist()
    if len(entries) > MAX_FILES or sum(info.file_size for info in entries) > MAX_BYTES:
        raise ConfigError(f"the zip unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB; that is no bundle")
    for info in entries:
        _check_entry(info, name)
    files = [info for info in entries if not info.is_dir()]
    seen = [info.filename.casefold() for info in files]
    parents = {str(parent) for text in seen for parent in PurePosixPath(text).parents}
    if len(set(seen)) < len(seen) or parents & set(seen):
        raise ConfigError("the zip holds two entries of one name")
    return files


def _check_entry(info: zipfile.ZipInfo, name: str) -> None:
    text, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    parts = text.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:]", text) or not text.isprintable():
        raise ConfigError(f"the zip holds {text!r}, a path outside its folder or one that is not fit for every system")
    if len(text.encode()) > MAX_PATH or any(len(part.encode()) > MAX_PART for part in parts):
        raise ConfigError(f"the zip holds {text[:60]!r}..., a name that is too long for a file")
    if parts[0] != name or (len(parts) == 1 and not info.is_dir()):
        raise ConfigError(f"the zip holds {text!r}, but all must lie in one folder {name}/, as its file name says")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ConfigError(f"the zip holds {text!r}, which is a link or another special file")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise ConfigError(f"the zip holds {text!r} encrypted or compressed by a method that bundles do not use")


def _check_bundle(folder: Path, name: str, version: str) -> None:
    """Raises ConfigError for missing files or metadata of another bundle, WeightsError for other weights."""
    if missing := [file for file in REQUIRED if not (folder / file).is_file()]:
        raise ConfigError(f"the zip is no whole bundle: it lacks {', '.join(missing)}")
    try:
        meta = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
        found = f"{meta['name']}_v{meta['version']}"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError("the zip's configs/metadata.json has no name and version") from error
    if found != f"{name}_v{version}":
        raise ConfigError(f"the zip is called {name}_v{version}, but its metadata say {found}")
    try:
        verified(folder)
    except WeightsError as error:
        raise WeightsError(f"the zip's {FILE} is not the one that its metadata name by weights_sha256") from error
