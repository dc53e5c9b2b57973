"""Packs bundles for download: as zips for a GitHub release or a web server, or as Hugging Face repositories."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oarseg.bundles import model_info
from oarseg.bundles.archive import left_out, own_files, version_of, write_zip
from oarseg.bundles.card import PICTURE
from oarseg.bundles.facts import is_ours
from oarseg.bundles.spec import BundleSpec, chosen_specs
from oarseg.bundles.staged import put, same, staging
from oarseg.checksum import has_weights, verified
from oarseg.errors import ConfigError, OutputError, WeightsError
from oarseg.sites import Site

# By layout: the option that gives the address of the zips.
LAYOUTS = {"http": "--base-url", "github": "--repo", "huggingface": None}


@dataclass(frozen=True)
class Packed:
    """A packed bundle. ``path``: its zip or folder; ``size``: bytes; ``sha1``: the zip's, "" for a folder.

    ``left_out``: files and folders that lie in the bundle's folder and are no part of it.
    """

    name: str
    version: str
    path: Path
    size: int
    sha1: str
    left_out: tuple[str, ...]


def pack(
    site: Site,
    root: Path,
    out: Path,
    names: Sequence[str] = (),
    layout: str = "http",
    base_url: str | None = None,
    repo: str | None = None,
    overwrite: bool = False,
) -> list[Packed]:
    """Pack the bundles of ``site`` below ``root`` (all, or those of ``names``) into the folder ``out``.

    Layouts: "http", zips and ``model_info.json`` to put at ``base_url``; "github", zips for the release ``repo``
    (OWNER/REPO/TAG, as MONAI has it) and ``models/model_info.json``, which MONAI reads from the tagged tree;
    "huggingface", one folder a bundle to upload as a repository, its card at the top. A ``model_info.json``
    that is there gets further entries. A zip or folder that is there and the same stays.

    Raises ConfigError for an unknown bundle, layout or address, or a bundle that is not whole; WeightsError where one
    has no weights; OutputError where something else is there and ``overwrite`` is not given, or cannot be written.
    Nothing is changed then.
    """
    address = _address(layout, base_url, repo)
    specs = _chosen(site, root, names)
    if out.resolve() == root.resolve():
        raise ConfigError(f"{out} holds the bundles themselves; give another folder for what is packed")
    with staging(out) as work:
        new = work / "new"
        new.mkdir()
        done = [_packed(spec, root / spec.name, new, layout, work / spec.name) for spec in specs]
        if address:
            listed = {one.path.stem: {"checksum": one.sha1, "source": f"{address}/{one.path.name}"} for one in done}
            place = f"models/{model_info.NAME}" if layout == "github" else model_info.NAME
            content = model_info.merged(model_info.read(out / place), listed, overwrite)
            (new / place).parent.mkdir(exist_ok=True)
            (new / place).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
        _into_place(new, out, [one.path.name for one in done], work, overwrite)
        if address and not same(new / place, out / place):
            put(new / place, out / place, work)
    return [Packed(d.name, d.version, out / d.path.name, d.size, d.sha1, d.left_out) for d in done]


def _address(layout: str, base_url: str | None, repo: str | None) -> str | None:
    """Return the address of the zips' folder; None for Hugging Face, which has none."""
    given = {"--base-url": base_url, "--repo": repo}
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r}; there are: {', '.join(LAYOUTS)}")
    for option, value in given.items():
        if value and option != LAYOUTS[layout]:
            raise ConfigError(f"the layout {layout} has no use for {option}; leave it out")
    if layout == "http":
        if not re.fullmatch(r"https?://[^\s?#]+", base_url or ""):
            raise ConfigError("give the address of the zips' folder: --base-url https://example.org/bundles")
        return base_url.rstrip("/")
    if layout == "github":
        if not re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+", repo or ""):
            raise ConfigError("give the release as MONAI names it: --repo OWNER/REPO/TAG")
        owner, name, tag = repo.split("/")
        return f"https://github.com/{owner}/{name}/releases/download/{tag}"
    return None


def _chosen(site: Site, root: Path, names: Sequence[str]) -> list[BundleSpec]:
    chosen = chosen_specs(site, names)
    if absent := [spec.name for spec in chosen if not (root / spec.name).is_dir()]:
        raise ConfigError(f"no bundle {absent[0]} in {root}; run: oarseg bundles sync, with the same --site and --root")
    if empty := [spec.name for spec in chosen if not has_weights(root / spec.name)]:
        raise WeightsError(
            f"without weights, so not packed: {', '.join(empty)}; train them (docs/new-site.md), or name other bundles"
        )
    return chosen


def _packed(spec: BundleSpec, folder: Path, new: Path, layout: str, work: Path) -> Packed:
    version, files = version_of(spec, folder), own_files(spec, folder, work)
    beside = tuple(left_out(folder, files))
    if layout == "huggingface":
        path = new / spec.name
        for name, file in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, path / name)
        (path / "README.md").write_text(_hub_card(spec, folder), encoding="utf-8")
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Packed(spec.name, version, path, size, "", beside)
    path = new / f"{spec.name}_v{version}.zip"
    write_zip(spec.name, files, path)
    return Packed(spec.name, version, path, path.stat().st_size, model_info.sha1(path), beside)


def _hub_card(spec: BundleSpec, folder: Path) -> str:
    """Return the card, headed by what Hugging Face reads. Only oarseg's own weights get a licence."""
    licence = "license: apache-2.0\n" if is_ours(spec, verified(folder)[1]) else ""
    header = f"---\nlibrary_name: monai\n{licence}pipeline_tag: image-segmentation\ntags:\n- monai\n- medical\n---\n"
    # At the top of the repository, a folder above the picture.
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    return header + text.replace(f"]({PICTURE})", f"](docs/{PICTURE})")


def _into_place(new: Path, out: Path, names: list[str], work: Path, overwrite: bool) -> None:
    todo = [name for name in names if not same(new / name, out / name)]
    if clones := [name for name in todo if (out / name / ".git").exists()]:
        raise OutputError(f"{out / clones[0]} is a git clone; pack into another folder and copy the files over")
    if not overwrite and (there := [name for name in todo if (out / name).exists()]):
        raise OutputError(
            f"{out / there[0]} is there and differs; a version once published should stay as it is: "
            "raise the version, or give --overwrite"
        )
    for name in todo:
        put(new / name, out / name, work)
