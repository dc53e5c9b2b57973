"""The site of docs/: it builds without a warning and without a network, and every link inside it leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from argparse import SUPPRESS
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import oarseg
from oarseg.bundles import FOLDER as BUNDLES
from oarseg.cli._main import COMMANDS, build_parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [page.relative_to(DOCS) for page in DOCS.rglob("*.md") if "_build" not in page.parts]
# Packages whose public names are in the reference, and the page.
DOCUMENTED = {
    "oarseg": "python", "oarseg.sites": "python", "oarseg.dicom": "dicom", "oarseg.dicomweb": "dicomweb",
    "oarseg.networks": "networks",
    "oarseg.transforms": "transforms", "oarseg.training": "training", "oarseg.datasets": "training",
    "oarseg.bundles": "training", "oarseg.compression": "compression",
}  # fmt: skip

pytestmark = pytest.mark.slow  # the site takes some 15 s to build
pytest.importorskip("sphinx", reason="needs Sphinx: pip install 'oarseg[docs]'")
for needed in ("myst_parser", "furo"):
    pytest.importorskip(needed, reason="needs pip install 'oarseg[docs]'")


@dataclass
class Html(HTMLParser):
    """What a page is linked by and what it links to. ``loaded``: what a browser fetches to show it."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in {"link", "script", "img"}:
            self.loaded += [found[name] for name in ("href", "src") if name in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site's folder."""
    out = tmp_path_factory.mktemp("site")
    command = ["sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(out / "doctrees"), str(DOCS)]
    # A network would be noticed: the proxy is no server.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", *command, str(out / "html")], env={**os.environ, **nowhere},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    """Every page of the site, parsed."""
    found = {}
    for path in site.rglob("*.html"):
        found[path] = Html()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_links_lead_somewhere(pages: dict[Path, Html]) -> None:
    broken = []
    for page, html in pages.items():
        for link in html.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = page if not parts.path else Path(os.path.normpath(page.parent / unquote(parts.path)))
            known = target in pages if target.suffix == ".html" else target.is_file()
            # "#" alone is the top of the page, and search.html's anchors come from its script.
            if not known or (parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids):
                broken.append(f"{page.name}: {link}")
    assert len(pages) > len(PAGES) and not broken


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Html]) -> None:
    assert not [url for html in pages.values() for url in html.loaded if urlsplit(url).netloc]


def test_every_page_is_in_the_table_of_contents(site: Path, pages: dict[Path, Html]) -> None:
    listed = {site / link.partition("#")[0] for link in pages[site / "index.html"].links}
    missing = [
        str(page) for page in PAGES if page.name != "index.md" and site / page.with_suffix(".html") not in listed
    ]
    assert not missing


@pytest.mark.parametrize("package", DOCUMENTED)
def test_every_public_name_is_documented(package: str, site: Path, pages: dict[Path, Html]) -> None:
    ids = pages[site / f"reference/{DOCUMENTED[package]}.html"].ids
    assert not [name for name in import_module(package).__all__ if f"{package}.{name}" not in ids]


def test_errors_are_documented(site: Path, pages: dict[Path, Html]) -> None:
    ids = pages[site / "reference/python.html"].ids
    errors = [name for name, kind in vars(import_module("oarseg.errors")).items() if isinstance(kind, type)]
    # OarsegError is part of the package's own names.
    assert {f"oarseg.errors.{name}" for name in errors} - ids <= {"oarseg.errors.OarsegError"}
    assert "OarsegError" in oarseg.__all__


def commands(parser=None, prefix: str = "oarseg") -> Iterator[tuple[str, list[str]]]:
    """Each command's name and the options that its help shows."""
    parser = parser or build_parser()
    yield prefix, [option for action in parser._actions if action.help != SUPPRESS for option in action.option_strings]
    for action in parser._actions:
        if hasattr(action, "choices") and isinstance(action.choices, dict):
            for name, sub in action.choices.items():
                yield from commands(sub, f"{prefix} {name}")


def test_every_command_and_option_is_documented(site: Path, pages: dict[Path, Html]) -> None:
    page = site / "reference/cli.html"
    text = page.read_text(encoding="utf-8")
    shown = dict(commands())
    assert {f"oarseg {name}" for name in COMMANDS} <= set(shown)
    assert {command.replace(" ", "-") for command in shown} <= pages[page].ids
    assert not [option for options in shown.values() for option in options if option not in text]


def test_every_bundle_has_its_card(site: Path) -> None:
    text = (site / "model-cards.html").read_text(encoding="utf-8")
    bundles = [folder.parent.name for folder in BUNDLES.glob("*/configs") if folder.parent.name != "templates"]
    assert len(bundles) >= 10 and not [name for name in bundles if f"<h2>{name}<" not in text]


def test_links_out_of_docs_lead_to_the_pages_of_the_site() -> None:
    spec = importlib.util.spec_from_file_location("repository_links", DOCS / "_ext/repository_links.py")
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    text = "[a](../CHANGELOG.md), [b](../README.md#use), [c](../sites/snomed.json), [d](results.md)"
    assert links.to_pages(text, "datasets") == (
        "[a](changelog.md), [b](index.md#use), [c](../sites/snomed.json), [d](results.md)"
    )
    assert links.to_pages("[a](../../CHANGELOG.md)", "tutorials/train") == "[a](../changelog.md)"
    assert all((DOCS / target).is_file() for pair in links.PAGES.items() for target in pair)
