"""What ``oarseg bundles pack`` writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from oarseg import __version__
from oarseg.bundles import FOLDER
from oarseg.bundles.pack import pack
from oarseg.cli import main
from oarseg.errors import ConfigError, OutputError
from oarseg.sites import load_site

URL = "https://example.org/zoo"
SITE = load_site()
EYE = "eye_left_ct_segmentation"


@pytest.fixture
def root(small_root: Path, tmp_path: Path) -> Path:
    """Two of the small bundles, to be changed."""
    for name in (EYE, "hn_ct_localizer"):
        shutil.copytree(small_root / name, tmp_path / "root" / name)
    return tmp_path / "root"


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_packs_every_bundle_with_all_of_it(shipped: Path, specs: dict, tmp_path: Path, tree) -> None:
    packed = pack(SITE, shipped, tmp_path / "zoo", base_url=URL)
    assert [one.name for one in packed] == list(specs)
    info = json.loads((tmp_path / "zoo/model_info.json").read_text(encoding="utf-8"))
    assert set(info) == {f"{name}_v{__version__}" for name in specs}
    for one in packed:
        assert one.path == tmp_path / "zoo" / f"{one.name}_v{__version__}.zip"
        with zipfile.ZipFile(one.path) as archive:
            archive.extractall(tmp_path / "out")
        sha1 = hashlib.sha1(one.path.read_bytes()).hexdigest()
        assert info[one.path.stem] == {"checksum": sha1, "source": f"{URL}/{one.path.name}"}
        assert one.sha1 == sha1 and one.size == one.path.stat().st_size
        got, had = tree(tmp_path / "out" / one.name), tree(shipped / one.name)
        assert {"LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md"} <= set(got)
        added = {"models/model.pt", "configs/metadata.json"} if one.name == "hn_ct_two_stage" else set()
        assert {name: got[name] for name in set(got) - added} == {name: had[name] for name in set(got) - added}
        assert "models/model.pt" in got
        assert not [name for name in had if name not in got and not name.startswith((*one.left_out, "."))]
    assert sorted(os.listdir(tmp_path / "out")) == sorted(specs), "each zip holds one folder, its bundle's"


def test_two_stage_zip_holds_the_set_that_cpus_use(shipped: Path, tmp_path: Path) -> None:
    (one,) = pack(SITE, shipped, tmp_path, ["hn_ct_two_stage"], base_url=URL)
    expected = {f"hn_ct_two_stage/models/compressed/{key}.packed" for key in ("localizer", *SITE.values)}
    expected |= {"hn_ct_two_stage/models/model.pt", "hn_ct_two_stage/models/compressed/ranges.json"}
    assert {name for name in names_in(one.path) if "/models/" in name} == expected


def test_same_tree_same_bytes_whenever_and_wherever(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    one = pack(SITE, root, tmp_path / "a", [EYE], base_url=URL)
    other = pack(SITE, tmp_path / "elsewhere", tmp_path / "b", [EYE], base_url=URL)
    assert one[0].sha1 == other[0].sha1
    (root / EYE / "docs/README.md").write_text("another card", encoding="utf-8")
    assert pack(SITE, root, tmp_path / "c", [EYE], base_url=URL)[0].sha1 != one[0].sha1


def test_only_the_bundles_own_files(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    had = pack(SITE, root, tmp_path / "before", [EYE], base_url=URL)[0]
    strange = (
        "runs/patient_7/ct.nii.gz", "models/model_before.pt", "models/.model.partial", "configs/__pycache__/a.pyc",
        ".git/HEAD", "models/compressed/notes.txt", "eval/scores.csv",
    )  # fmt: skip
    for name in strange:
        (root / EYE / name).parent.mkdir(parents=True, exist_ok=True)
        (root / EYE / name).write_text("mine", encoding="utf-8")
    args = ["--root", str(root), "--out", str(tmp_path / "after"), "--base-url", URL]
    assert main(["bundles", "pack", EYE, *args]) == 0
    printed = capsys.readouterr().out
    assert f"{had.sha1}\n" in printed
    assert "left out, as no part of the bundle: eval, models/compressed, models/model_before.pt, runs\n" in printed


def test_github_layout(root: Path, tmp_path: Path) -> None:
    (one,) = pack(SITE, root, tmp_path / "zoo", [EYE], "github", repo="someone/zoo/v1")
    info = json.loads((tmp_path / "zoo/models/model_info.json").read_text(encoding="utf-8"))
    source = f"https://github.com/someone/zoo/releases/download/v1/{one.path.name}"
    assert info == {one.path.stem: {"checksum": one.sha1, "source": source}}
    assert sorted(os.listdir(tmp_path / "zoo")) == [one.path.name, "models"]


def test_huggingface_layout(root: Path, tmp_path: Path, tree) -> None:
    (one,) = pack(SITE, root, tmp_path / "hub", [EYE], "huggingface")
    got, had = tree(one.path), tree(root / EYE)
    card = got.pop("README.md").decode()
    assert got == had
    # These weights are nobody's that oarseg knows, so it gives them no licence, as it does its own.
    assert card.startswith("---\nlibrary_name: monai\npipeline_tag: ")
    (ours,) = pack(SITE, FOLDER, tmp_path / "ours", [EYE], "huggingface")
    assert (ours.path / "README.md").read_text().startswith("---\nlibrary_name: monai\nlicense: apache-2.0\n")
    assert card.endswith(f"---\n{had['docs/README.md'].decode()}")
    assert os.listdir(tmp_path / "hub") == [EYE]


def test_adds_to_an_earlier_list(root: Path, tmp_path: Path) -> None:
    pack(SITE, root, tmp_path, [EYE], base_url=URL)
    pack(SITE, root, tmp_path, ["hn_ct_localizer"], base_url=URL)
    info = json.loads((tmp_path / "model_info.json").read_text(encoding="utf-8"))
    assert list(info) == [f"{EYE}_v{__version__}", f"hn_ct_localizer_v{__version__}"]


@pytest.mark.parametrize(("layout", "where"), [("http", {"base_url": URL}), ("huggingface", {})])
def test_what_is_there_stays_unless_told(layout: str, where: dict, root: Path, tmp_path: Path, tree) -> None:
    pack(SITE, root, tmp_path / "zoo", layout=layout, names=[EYE], **where)
    before = tree(tmp_path / "zoo")
    pack(SITE, root, tmp_path / "zoo", layout=layout, names=[EYE], **where)
    assert tree(tmp_path / "zoo") == before
    (root / EYE / "docs/README.md").write_text("another card", encoding="utf-8")
    both = [EYE, "hn_ct_localizer"]
    with pytest.raises(OutputError, match="--overwrite"):
        pack(SITE, root, tmp_path / "zoo", layout=layout, names=both, **where)
    assert tree(tmp_path / "zoo") == before, "neither of the two may be written, and nothing be left"
    pack(SITE, root, tmp_path / "zoo", layout=layout, names=both, overwrite=True, **where)
    after = tree(tmp_path / "zoo")
    assert set(before) < set(after) and before != {name: after[name] for name in before}
    assert not [path for path in (tmp_path / "zoo").iterdir() if path.name.startswith(".")]


def test_a_clone_is_not_replaced(root: Path, tmp_path: Path) -> None:
    (tmp_path / "hub" / EYE / ".git").mkdir(parents=True)
    with pytest.raises(OutputError, match="git clone"):
        pack(SITE, root, tmp_path / "hub", [EYE], "huggingface", overwrite=True)
    assert (tmp_path / "hub" / EYE / ".git").is_dir()


def refused(capsys: pytest.CaptureFixture, out: Path, *args: str | Path) -> str:
    """The one line that tells why ``oarseg bundles pack`` refuses; nothing may be written."""
    assert main(["bundles", "pack", "--out", str(out), *(str(arg) for arg in args)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.startswith("oarseg: error: ")
    assert not out.exists()
    return printed


def test_refuses_a_site_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    where = ["--site", "thorax", "--root", str(tmp_path / "thorax")]
    printed = refused(capsys, tmp_path / "zoo", *where, "--base-url", URL)
    assert "no bundle thorax_ct_localizer in" in printed
    main(["bundles", "sync", *where])
    capsys.readouterr()
    printed = refused(capsys, tmp_path / "zoo", *where, "--base-url", URL)
    assert "without weights, so not packed: thorax_ct_localizer, " in printed and "docs/new-site.md" in printed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nose_ct_segmentation", "--base-url", URL], "no bundle 'nose_ct_segmentation' in site head_neck"),
        ([EYE], "--base-url https://"),
        ([EYE, "--base-url", "ftp://example.org"], "--base-url https://"),
        ([EYE, "--layout", "github"], "--repo OWNER/REPO/TAG"),
        ([EYE, "--layout", "github", "--repo", "someone/zoo"], "--repo OWNER/REPO/TAG"),
        ([EYE, "--layout", "huggingface", "--base-url", URL], "huggingface has no use for --base-url"),
        ([EYE, "--repo", "a/b/c", "--base-url", URL], "http has no use for --repo"),
    ],
)
def test_refuses_what_makes_no_sense(
    args: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert message in refused(capsys, tmp_path / "deep" / "zoo", "--root", root, *args)
    assert not (tmp_path / "deep").exists()


def test_refuses_bundles_that_are_not_whole(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    args = [EYE, "--root", root, "--base-url", URL]
    meta = root / EYE / "configs/metadata.json"
    content = json.loads(meta.read_text(encoding="utf-8"))
    meta.write_text(json.dumps(content | {"version": "one"}), encoding="utf-8")
    assert "'one', expected" in refused(capsys, tmp_path / "zoo", *args)
    meta.write_text(json.dumps(content | {"name": "other"}), encoding="utf-8")
    assert "'other'" in refused(capsys, tmp_path / "zoo", *args)
    meta.write_text(json.dumps(content | {"weights_sha256": "0" * 64}), encoding="utf-8")
    assert "has SHA-256" in refused(capsys, tmp_path / "zoo", *args)
    meta.write_text("{", encoding="utf-8")
    assert "metadata.json cannot be read" in refused(capsys, tmp_path / "zoo", *args)
    meta.write_text(json.dumps(content), encoding="utf-8")
    (root / EYE / "LICENSE").unlink()
    assert "lacks LICENSE; run: oarseg bundles sync" in refused(capsys, tmp_path / "zoo", *args)


def test_refuses_to_pack_over_the_bundles_themselves(root: Path, tree) -> None:
    before = tree(root)
    with pytest.raises(ConfigError, match="the bundles themselves"):
        pack(SITE, root, root, [EYE], "huggingface", overwrite=True)
    assert tree(root) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "not a model_info.json"), ('{"a_v1": {"checksum": "0"}}', "not a model_info.json")],
)
def test_refuses_a_damaged_list(text: str, message: str, root: Path, tmp_path: Path, tree) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/model_info.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        pack(SITE, root, tmp_path / "zoo", [EYE], base_url=URL)
    assert tree(tmp_path / "zoo") == {"model_info.json": text.encode()}


def test_refuses_versions_that_monai_sorts_wrongly(root: Path, tmp_path: Path) -> None:
    earlier = {f"{EYE}_v0.0.9": {"checksum": "0", "source": "a"}, f"{EYE}_v0.0.10": {"checksum": "0", "source": "b"}}
    (tmp_path / "model_info.json").write_text(json.dumps(earlier), encoding="utf-8")
    pack(SITE, root, tmp_path, [EYE], base_url=URL)  # the present version is the newest either way
    meta = root / EYE / "configs/metadata.json"
    content = json.loads(meta.read_text(encoding="utf-8"))
    meta.write_text(json.dumps(content | {"version": "0.10.0"}), encoding="utf-8")
    (tmp_path / "model_info.json").write_text(
        json.dumps({f"{EYE}_v0.9.0": {"checksum": "0", "source": "a"}}), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="take eye_left_ct_segmentation 0.9.0 for the newest of 0.10.0, 0.9.0"):
        pack(SITE, root, tmp_path, [EYE], base_url=URL)
    assert not (tmp_path / f"{EYE}_v0.10.0.zip").exists()


def test_a_place_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="/file/zoo"):
        pack(SITE, root, tmp_path / "file" / "zoo", [EYE], base_url=URL)
