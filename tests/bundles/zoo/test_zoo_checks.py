"""What the MONAI model zoo checks of a bundle's files before it takes it, over all ten; metadata have a test."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from oarseg.bundles import FOLDER
from oarseg.bundles.pack import pack
from oarseg.sites import load_site

REQUIRED = ("LICENSE", "configs/metadata.json", "configs/inference.json")
CONVENTIONAL = (
    "configs/train.json", "configs/evaluate.json", "configs/multi_gpu_train.json", "configs/logging.conf",
    "docs/README.md", "docs/data_license.txt",
)  # fmt: skip
LIMIT = 25 * 1000 * 1000
EXACT = re.compile(r"\d+(\.\d+)+")
CONSTRAINTS = FOLDER.parent / "constraints.txt"


def strings(item: object) -> Iterator[str]:
    """All strings in a JSON content, but for keys: ``a#b`` is how an overlay names what it replaces."""
    if isinstance(item, dict | list):
        for value in item.values() if isinstance(item, dict) else item:
            yield from strings(value)
    elif isinstance(item, str):
        yield item


def problems(folder: Path) -> list[str]:
    """Everything that the zoo would not take; each begins with the name of what is wrong."""
    found = [f"missing {name}" for name in (*REQUIRED, *CONVENTIONAL) if not (folder / name).is_file()]
    if not (folder / "models/model.pt").is_file() and not (folder / "large_files.yml").is_file():
        found.append("missing models/model.pt or large_files.yml")
    found += [f"large {p.name}" for p in folder.rglob("*") if p.is_file() and p.stat().st_size > LIMIT]
    if "_v" in folder.name:
        found.append("name holds _v, at which MONAI cuts it")
    for path in sorted((folder / "configs").glob("*.json")):
        found += _config_problems(path)
    return found + (_version_problems(folder) if (folder / "configs/metadata.json").is_file() else [])


def _config_problems(path: Path) -> list[str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [f"hash in {path.name}: {text}" for text in strings(content) if "#" in text]
    # "%id" repeats what stands under that id of the same file; anything else after % ends the parse.
    macros = [text for text in strings(content) if text.startswith("%")]
    return found + [f"macro in {path.name}: {text}" for text in macros if text[1:] not in content]


def _version_problems(folder: Path) -> list[str]:
    meta = json.loads((folder / "configs/metadata.json").read_text(encoding="utf-8"))
    pins = {key: meta[key] for key in ("monai_version", "pytorch_version", "numpy_version")}
    pins |= meta["required_packages_version"]
    found = [f"pin of {key}: {value}" for key, value in pins.items() if not EXACT.fullmatch(value)]
    if meta["version"] not in meta["changelog"]:
        found.append("changelog lacks the version")
    if any(int(part) > 9 for part in meta["version"].split(".")):
        found.append("version would be sorted wrongly")
    return found


def test_the_zoo_would_take_it(name: str, published: Path) -> None:
    assert problems(published / name) == []


def edit(name: str, **change: object):
    def apply(folder: Path) -> None:
        path = folder / "configs" / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")

    return apply


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / "LICENSE").unlink(), "missing LICENSE"),
        (lambda folder: (folder / "models/model.pt").unlink(), "missing models/model.pt or"),
        (lambda folder: (folder / "docs/data_license.txt").unlink(), "missing docs/data_license.txt"),
        (lambda folder: (folder / "models/big.bin").write_bytes(bytes(LIMIT + 1)), "large big.bin"),
        (edit("inference.json", note="see page#part"), "hash in inference.json"),
        (edit("train.json", note="%nowhere"), "macro in train.json"),
        (edit("metadata.json", required_packages_version={"scipy": ">=1.11"}), "pin of scipy"),
        (edit("metadata.json", changelog={}), "changelog lacks"),
        (edit("metadata.json", version="0.10.0", changelog={"0.10.0": ""}), "version would be sorted wrongly"),
    ],
)
def test_the_checks_would_notice(spoil, expected: str, small_root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small_root / "eye_left_ct_segmentation", tmp_path / "eye_left_ct_segmentation"))
    assert problems(folder) == []
    spoil(folder)
    (found,) = problems(folder)
    assert found.startswith(expected)


def test_configs_survive_the_parser(name: str, shipped: Path) -> None:
    """MONAI rewrites ``#`` and ``%`` as it reads a config; read so, each must still be what its JSON says."""
    for path in (shipped / name / "configs" / file for file in ("inference.json", "train.json", "metadata.json")):
        parser = ConfigParser()
        parser.read_config(str(path))
        parser.resolve_macro_and_relative_ids()
        content = json.loads(path.read_text(encoding="utf-8"))
        expected = {key: content[value[1:]] if _macro(value) else value for key, value in content.items()}
        assert {key: parser.get(key) for key in expected} == expected, path.name


def _macro(value: object) -> bool:
    return isinstance(value, str) and value.startswith("%")


def test_pins_are_what_is_tested_with(name: str, shipped: Path) -> None:
    if not CONSTRAINTS.is_file():
        pytest.skip("constraints.txt comes with the repository only")
    tested = dict(re.findall(r"^([\w-]+)==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE))
    meta = json.loads((shipped / name / "configs/metadata.json").read_text(encoding="utf-8"))
    pins = {"monai": meta["monai_version"], "torch": meta["pytorch_version"], "numpy": meta["numpy_version"]}
    pins |= {key: value for key, value in meta["required_packages_version"].items() if key != "oarseg"}
    assert pins == {key: tested[key] for key in pins}


def test_monai_reads_names_and_versions_from_the_list(shipped: Path, specs: dict, tmp_path: Path, monkeypatch) -> None:
    """By MONAI's own functions, which cut ``<name>_v<version>``; only the fetching of the list is replaced."""
    scripts = pytest.importorskip("monai.bundle.scripts")
    pack(load_site(), shipped, tmp_path, layout="github", repo="someone/zoo/v1")
    text = (tmp_path / "models/model_info.json").read_text(encoding="utf-8")

    class Answer:
        def __init__(self) -> None:
            self.text = text

        def raise_for_status(self) -> None:
            pass

    class Requests:
        def get(self, url: str, **options: object) -> Answer:
            assert url == "https://raw.githubusercontent.com/someone/zoo/v1/models/model_info.json"
            return Answer()

    monkeypatch.setattr(scripts, "has_requests", True)
    monkeypatch.setattr(scripts, "requests", Requests())
    version = json.loads((shipped / "hn_ct_two_stage/configs/metadata.json").read_text(encoding="utf-8"))["version"]
    listed = scripts.get_all_bundles_list(repo="someone/zoo", tag="v1")
    assert sorted(listed) == sorted((name, version) for name in specs)
    row = scripts.get_bundle_info("hn_ct_two_stage", repo="someone/zoo", tag="v1")
    assert row["browser_download_url"] == json.loads(text)[f"hn_ct_two_stage_v{version}"]["source"]
