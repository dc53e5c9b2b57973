"""The compressed networks of a bundle: 8 bits with the labels of full precision, only where they fit, never damaged."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oarseg.checksum import sha256 as file_sha256
from oarseg.compression import calibrate, write_packed
from oarseg.errors import ConfigError, WeightsError
from oarseg.inference.engines import choose, stored
from oarseg.inference.engines.openvino_core import BlobCache
from oarseg.inference.engines.stored import FOLDER, Row, StoredNetworks, Table, read_table, stored_networks, write_table
from oarseg.networks import UNet3d
from oarseg.requires import installed
from oarseg.sites import Site, load_site
from oarseg.sites import table as site_table

if not installed("openvino"):
    pytest.skip("openvino is not installed", allow_module_level=True)
from oarseg.inference.engines.openvino_core import OpenVinoCore  # noqa: E402

MODEL = "ab" * 32
NAMES = ("localizer", "brainstem", "mandible")


@pytest.fixture(scope="module")
def site_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site table of two organs, with the statistics of the network ``trained``."""
    content = json.loads((site_table.FOLDER / "head_neck.json").read_text())
    content["organs"] = [organ for organ in content["organs"] if organ["key"] in NAMES]
    for value, organ in enumerate(content["organs"], 1):
        organ.update(grid=[16, 24, 24], field_mm=[32, 48, 48], mean=0.4, std=0.2, value=value)
    content["localizer"].update(mean=0.4, std=0.2)
    path = tmp_path_factory.mktemp("site") / "site.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def site(site_file: Path) -> Site:
    return load_site(str(site_file))


@pytest.fixture(scope="module")
def made(trained: UNet3d, two_organs: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder whose networks are all ``trained``, those of organs without its last class, calibrated."""
    pytest.importorskip("nncf", reason="nncf is not installed")
    root = tmp_path_factory.mktemp("bundle")
    (root / FOLDER).mkdir(parents=True)
    rows = {}
    inputs = [two_organs(n)[0].numpy() for n in range(4)]
    for name in NAMES:
        path = root / FOLDER / f"{name}.packed"
        state = trained.state_dict()
        if name != "localizer":
            state |= {key: state[key][:2] for key in ("head.weight", "head.bias")}
        write_packed(path, state)
        rows[name] = Row(path, file_sha256(path), 0.4, 0.2, {})
    ranges = calibrate.find_ranges(rows["brainstem"], inputs)
    rows = {name: dataclasses.replace(row, ranges=ranges) for name, row in rows.items()}
    write_table(root / FOLDER / "ranges.json", MODEL, rows, {"cases": 4})
    return root


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    (tmp_path / FOLDER).mkdir(parents=True)
    for path in (made / FOLDER).iterdir():
        (tmp_path / FOLDER / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def core(tmp_path: Path) -> OpenVinoCore:
    return OpenVinoCore(1, BlobCache(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor that gains from OpenVINO and has 8-bit products; a user's cache of the test's own."""
    monkeypatch.setattr(choose, "openvino_gains", lambda: True)
    monkeypatch.setattr(stored, "has_int8", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def table(root: Path) -> Table:
    found = read_table(root / FOLDER)
    assert found is not None
    return found


def edited(root: Path, change: Callable[[dict], object]) -> None:
    path = root / FOLDER / "ranges.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("bf16", 0.99), ("int8", 0.98)])
@pytest.mark.parametrize("size", [(16, 24, 24), (16, 40, 24)])
def test_labels_are_those_of_full_precision(precision, least, size, made, site, core, trained, two_organs, phantom):
    try:
        networks = StoredNetworks(table(made), site, precision, core)
    except ConfigError as error:
        pytest.skip(str(error))
    image, truth = two_organs(99, size)
    logits = networks["localizer"](image.numpy())
    with torch.no_grad():
        exact = trained(image).numpy()
    assert logits.dtype == np.float32 and logits.shape == exact.shape
    assert precision == "fp32" or np.abs(logits - exact).max() > 1e-3
    found, expected = logits.argmax(axis=1)[0], exact.argmax(axis=1)[0]
    for value in (1, 2):
        assert phantom.dice(expected == value, truth[0].numpy() == value) > 0.85, "the network has not learnt its task"
        assert phantom.dice(found == value, expected == value) >= least


def test_an_organs_network_has_its_grid(made, site, core, two_organs: Callable[..., tuple[Tensor, Tensor]]) -> None:
    networks = StoredNetworks(table(made), site, None, core)
    assert list(networks) == list(NAMES) and len(networks) == 3 and networks.precision == "int8"
    assert networks["brainstem"](two_organs(0)[0].numpy()).shape == (1, 2, 16, 24, 24)
    with pytest.raises(ConfigError, match=r"size \(1, 1, 16, 40, 24\)"):
        networks["brainstem"](two_organs(0, (16, 40, 24))[0].numpy())
    with pytest.raises(ValueError, match="must be multiples of 4"):
        networks["localizer"](np.zeros((1, 1, 6, 8, 8), np.float32))
    with pytest.raises(KeyError):
        networks["liver"]


def test_released_networks_answer_as_before(made, site, core, two_organs) -> None:
    networks = StoredNetworks(table(made), site, None, core)
    networks.release("localizer")
    image = two_organs(3, (32, 48, 48))[0].numpy()
    first = networks["localizer"](image)
    kept = first.copy()
    networks.release("localizer")
    np.testing.assert_array_equal(networks["localizer"](image), kept)
    np.testing.assert_array_equal(first, kept)


def test_from_the_cache_nothing_is_built(made, site, core, two_organs, monkeypatch) -> None:
    image = two_organs(3)[0].numpy()
    first = StoredNetworks(table(made), site, None, core)["localizer"](image)
    assert len(list(core.cache.folder.iterdir())) == 1
    monkeypatch.setattr(stored, "build", lambda *args: pytest.fail("built again"))
    np.testing.assert_array_equal(StoredNetworks(table(made), site, None, core)["localizer"](image), first)


def test_other_ranges_and_precisions_are_other_entries(bundle, site, core, two_organs) -> None:
    image = two_organs(3)[0].numpy()
    first = StoredNetworks(table(bundle), site, None, core)["localizer"](image)
    floats = StoredNetworks(table(bundle), site, "fp32", core)["localizer"](image)
    edited(bundle, lambda content: content["networks"]["localizer"]["ranges"].update({"encoder.1.0": [0, 0.5]}))
    other = StoredNetworks(table(bundle), site, None, core)["localizer"](image)
    assert not np.allclose(first, floats, atol=1e-4) and not np.allclose(first, other, atol=1e-2)


def test_where_they_are_used(made, site, monkeypatch) -> None:
    for choice, precision in (("auto", "int8"), ("openvino", "int8"), ("openvino:fp32", "fp32")):
        assert stored_networks(choice, made, MODEL, site).precision == precision
    assert stored_networks("torch", made, MODEL, site) is None
    assert stored_networks("auto", made / "elsewhere", MODEL, site) is None
    assert stored_networks("openvino", made, "other weights", site) is None
    monkeypatch.setattr(stored, "has_int8", lambda: False)
    networks = stored_networks("auto", made, MODEL, site)
    assert networks.precision == networks.core.float
    monkeypatch.setattr(choose, "openvino_gains", lambda: False)
    assert stored_networks("auto", made, MODEL, site) is None
    assert stored_networks("openvino", made, MODEL, site) is not None
    monkeypatch.setattr(stored, "installed", lambda package: False)
    assert stored_networks("auto", made, MODEL, site) is None


def test_int8_that_cannot_be_had_is_told(made, site) -> None:
    with pytest.raises(WeightsError, match="none in .*compressed.*oarseg compress calibrate"):
        stored_networks("openvino:int8", made / "elsewhere", MODEL, site)
    with pytest.raises(WeightsError, match="are of other weights; make them"):
        stored_networks("openvino:int8", made, "other weights", site)


def test_mean_and_spread_are_those_of_the_weights_whatever_the_site_table_says(made, site, two_organs) -> None:
    other = dataclasses.replace(site, localizer=dataclasses.replace(site.localizer, mean=0.3))
    image = two_organs(3)[0].numpy()
    first, second = (stored_networks("auto", made, MODEL, table)["localizer"](image) for table in (site, other))
    np.testing.assert_array_equal(first, second)


def test_an_organ_without_a_network_is_refused(made, site) -> None:
    more = dataclasses.replace(site, organs=(*site.organs, dataclasses.replace(site.organs[0], key="liver")))
    with pytest.raises(WeightsError, match="has no network liver"):
        stored_networks("auto", made, MODEL, more)["liver"]


def test_a_changed_or_missing_weight_file_is_refused(bundle, site) -> None:
    path = bundle / FOLDER / "localizer.packed"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="localizer.packed is not the .* install the bundle again, or calibrate"):
        stored_networks("auto", bundle, MODEL, site)["localizer"]
    path.unlink()
    with pytest.raises(WeightsError, match="localizer.packed cannot be read"):
        stored_networks("auto", bundle, MODEL, site)["localizer"]
    assert stored_networks("auto", bundle, MODEL, site)["brainstem"] is not None


def test_a_weight_file_that_is_no_network_is_refused(bundle, site) -> None:
    path = bundle / FOLDER / "localizer.packed"
    write_packed(path, {"weight": torch.ones(3)})
    edited(bundle, lambda content: content["networks"]["localizer"].update(sha256=file_sha256(path)))
    run = stored_networks("auto", bundle, MODEL, site)["localizer"]
    with pytest.raises(WeightsError, match="of the UNet3d is missing"):
        run(np.zeros((1, 1, 8, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("name", "other", "classes"), [("localizer", "mandible", (2, 3)), ("mandible", "localizer", (3, 2))]
)
def test_the_weight_file_of_another_network_is_refused(name, other, classes, bundle, site, core) -> None:
    """Although the table names it, and although another site's networks of these weights are in the cache."""
    folder = bundle / FOLDER
    image = np.zeros((1, 1, 16, 24, 24), np.float32)
    StoredNetworks(table(bundle), site, "fp32", core)[other](image)
    (folder / f"{name}.packed").write_bytes((folder / f"{other}.packed").read_bytes())
    edited(bundle, lambda content: content["networks"].update({name: content["networks"][other]}))
    message = rf"{name}\.packed gives {classes[0]} classes, {name} of this site {classes[1]}; install"
    with pytest.raises(WeightsError, match=message):
        StoredNetworks(table(bundle), site, "fp32", core)[name](image)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(schema=9),
        lambda c: c.pop("model_sha256"),
        lambda c: c.update(networks=[]),
        lambda c: c["networks"].update({"../a": c["networks"]["localizer"]}),
        lambda c: c["networks"]["localizer"].update(std=0),
        lambda c: c["networks"]["localizer"].update(std=1e-50),
        lambda c: c["networks"]["localizer"].update(mean="NaN"),
        lambda c: c["networks"]["localizer"].update(mean=10**400),
        lambda c: c["networks"]["localizer"].update(mean=1e39),
        lambda c: c["networks"]["localizer"]["ranges"].update({"up.0": [0, 1e39]}),
        lambda c: c["networks"]["localizer"]["ranges"].update({"up.0": [2, 1]}),
        lambda c: c["networks"]["localizer"]["ranges"].update({"up.0": [1]}),
        lambda c: c["networks"]["localizer"]["ranges"].update({"up.0": [0, 1e999]}),
        lambda c: c["networks"]["localizer"]["ranges"].pop("encoder.0.0"),
        lambda c: c["networks"]["localizer"]["ranges"].update({"head": [0, 1]}),
    ],
)
def test_a_malformed_table_is_refused(change: Callable[[dict], object], bundle, site) -> None:
    edited(bundle, change)
    with pytest.raises(WeightsError, match="ranges.json .*calibrate again"):
        stored_networks("auto", bundle, MODEL, site)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100000])
def test_a_table_that_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_bytes(content)
    with pytest.raises(WeightsError, match="ranges.json is malformed"):
        read_table(tmp_path)


def test_neither_pytorch_nor_monai_is_imported(made, site_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys; import numpy as np; from oarseg.inference.engines import stored_networks;"
        "from oarseg.sites import load_site; root, model, site = sys.argv[1:];"
        "networks = stored_networks('openvino:int8', root, model, load_site(site));"
        "print(networks['brainstem'](np.zeros((1, 1, 16, 24, 24), np.float32)).shape);"
        "print(*{'torch', 'monai', 'nncf'} & set(sys.modules))"
    )
    arguments = [sys.executable, "-c", code, str(made), MODEL, str(site_file)]
    # From another folder: in the repository's own, its folders would hide modules of the same name.
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split("\n") == ["(1, 2, 16, 24, 24)", "", ""], done.stderr
