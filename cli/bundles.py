"""``oarseg bundles``: where the bundles are; render them, put weights into them, pack and unpack them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EXAMPLES = """  oarseg bundles where hn_ct_localizer
  oarseg bundles sync                 write what differs
  oarseg bundles sync --check         exit 1 if a bundle differs from the table and the templates
  oarseg bundles sync --site thorax --root my_bundles       another site's bundles (without weights)
  oarseg bundles sync --site my_site.json --root my_bundles
  oarseg bundles weights brainstem_ct_segmentation runs/brainstem_ct_segmentation/model.pt
  oarseg bundles weights eye_right_ct_segmentation runs/eye_left_ct_segmentation/model.pt --mirror
  oarseg bundles weights mandible_ct_segmentation runs/phase1/model.pt runs/phase2/model.pt   their mean
  oarseg bundles weights hn_ct_two_stage --root my_bundles   put the others' weights together in one file
  oarseg bundles pack --out zoo --base-url https://example.org/zoo      zips for a web server
  oarseg bundles pack --out zoo --layout github --repo OWNER/REPO/TAG   zips for a GitHub release
  oarseg bundles pack hn_ct_two_stage --out hub --layout huggingface    a folder to upload
  oarseg bundles unpack zoo/hn_ct_two_stage_v0.2.0.zip --into bundles
  oarseg bundles unpack https://example.org/zoo/hn_ct_two_stage_v0.2.0.zip --into bundles
"""
SITE = "body site, or the path of its JSON table (default: head_neck)"
ROOT = "folder of the bundles (default: the installed ones)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    where = actions.add_parser("where", help="print the folder of the installed bundles, or of one of them")
    where.add_argument("bundle", nargs="?", help="name of the bundle")
    sync = actions.add_parser("sync", help="render all bundles of a site")
    sync.add_argument("--check", action="store_true", help="write nothing; exit 1 where something differs")
    weights = actions.add_parser("weights", help="put weights into a bundle, half precision; print their checksum")
    weights.add_argument("bundle", help="name of the bundle")
    weights.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", type=Path,
        help="trained weights, of several the mean; none for the two-stage bundle, which needs a file only without the "
        "other bundles beside it, or for MONAI Label",
    )  # fmt: skip
    weights.add_argument("--mirror", action="store_true", help="flip the kernels: the other side's network")
    pack = actions.add_parser("pack", help="pack bundles with their weights for others to download")
    _add_pack(pack)
    for action in (sync, weights, pack):
        action.add_argument("--site", default="head_neck", help=SITE)
        action.add_argument("--root", type=Path, help=ROOT)
    for action in (sync, weights):
        action.add_argument("--installed", action="store_true", help="change the bundles of an installed oarseg")
    unpack = actions.add_parser("unpack", help="check a packed bundle, from a file or the web, and unpack it")
    unpack.add_argument("source", metavar="ZIP", help="path or http(s) address of <name>_v<version>.zip")
    unpack.add_argument("--into", type=Path, required=True, metavar="DIR", help="folder that holds bundles")
    unpack.add_argument(
        "--checksum", help="SHA-1 or SHA-256 of the zip (default: what model_info.json beside it names)"
    )
    unpack.add_argument("--overwrite", action="store_true", help="replace an earlier copy, with all that is in it")


def _add_pack(pack: argparse.ArgumentParser) -> None:
    pack.add_argument("names", nargs="*", metavar="BUNDLE", help="names of bundles (default: all of the site)")
    pack.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for what is packed")
    pack.add_argument(
        "--layout", choices=("http", "github", "huggingface"), default="http",
        help="http (default): zips and model_info.json; github: zips of a release and models/model_info.json; "
        "huggingface: a repository's folder for each bundle",
    )  # fmt: skip
    pack.add_argument("--base-url", metavar="URL", help="http: address of the folder in which the zips will lie")
    pack.add_argument("--repo", metavar="OWNER/REPO/TAG", help="github: the release that the zips will belong to")
    pack.add_argument("--overwrite", action="store_true", help="replace what is there and differs")


def run(args: argparse.Namespace) -> int:
    if args.action == "unpack":
        return _unpack(args)
    from oarseg.bundles import FOLDER, where
    from oarseg.bundles.location import changeable
    from oarseg.sites import load_site

    if args.action == "where":
        print(where(args.bundle))
        return 0
    site, read_only = load_site(args.site), args.action == "pack" or args.action == "sync" and args.check
    root = (args.root or FOLDER) if read_only else changeable(args.root, args.installed)
    if args.action == "sync":
        return _sync(site, root, args.check)
    return _pack(site, root, args) if args.action == "pack" else _weights(site, root, args)


def _sync(site, root: Path, check: bool) -> int:
    from oarseg.bundles.render import sync, untrained

    changed = sync(site, root, check)
    for path in changed:
        print(("differs: " if check else "wrote: ") + path)
    if missing := untrained(site, root):
        print(f"without weights: {', '.join(missing)}")
    if not changed:
        print("the bundles are what the table and the templates say")
    elif check:
        print("run: oarseg bundles sync, with the same --site and --root", file=sys.stderr)
    return 1 if check and changed else 0


def _weights(site, root: Path, args: argparse.Namespace) -> int:
    from oarseg.bundles.render import sync
    from oarseg.bundles.spec import chosen_specs
    from oarseg.bundles.weights import install

    (spec,) = chosen_specs(site, [args.bundle])
    checksum = install(spec, root, args.checkpoints, args.mirror)
    sync(site, root)
    print(f"{args.bundle}/models/model.pt  SHA-256 {checksum}")
    return 0


def _pack(site, root: Path, args: argparse.Namespace) -> int:
    from oarseg.bundles.pack import pack

    packed = pack(site, root, args.out, args.names, args.layout, args.base_url, args.repo, args.overwrite)
    for one in packed:
        checksum = f"  SHA-1 {one.sha1}" if one.sha1 else ""
        print(f"{one.path}  {one.size / 1e6:.1f} MB{checksum}")
        if one.left_out:
            print(f"  left out, as no part of the bundle: {', '.join(one.left_out)}")
    return 0


def _unpack(args: argparse.Namespace) -> int:
    from oarseg.bundles.unpack import unpack

    folder, version = unpack(args.source, args.into, args.checksum, args.overwrite)
    print(f"{folder}  version {version}, checksums agree")
    return 0
