"""The metadata of every bundle against the schema and against what the network really takes and gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from monai.bundle import verify_metadata, verify_net_in_out

from oarseg import __version__

# The schema is no part of the repository: name it in OARSEG_META_SCHEMA, or keep it beside the checkout.
_PLACES = (
    os.environ.get("OARSEG_META_SCHEMA", ""),
    str(Path(__file__).resolve().parents[2].parent / "shared/data/schema/meta_schema_20240725.json"),
)
SCHEMA = next((place for place in _PLACES if place and Path(place).is_file()), None)
REQUIRED = {
    "schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task",
    "description", "authors", "copyright", "network_data_format",
}  # fmt: skip
TENSOR = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"}


def read(folder: Path) -> dict:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(SCHEMA is None, reason="meta_schema_20240725.json is not there (set OARSEG_META_SCHEMA)")
def test_validates_against_the_schema(name: str, shipped: Path) -> None:
    import jsonschema

    jsonschema.validate(read(shipped / name), json.loads(Path(SCHEMA).read_text(encoding="utf-8")))
    verify_metadata(meta_file=str(shipped / name / "configs" / "metadata.json"), filepath=SCHEMA)


@pytest.mark.skipif(SCHEMA is None, reason="meta_schema_20240725.json is not there (set OARSEG_META_SCHEMA)")
def test_schema_would_refuse_a_tensor_without_dtype(shipped: Path) -> None:
    import jsonschema

    meta = read(shipped / "hn_ct_localizer")
    del meta["network_data_format"]["inputs"]["image"]["dtype"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(meta, json.loads(Path(SCHEMA).read_text(encoding="utf-8")))


def test_required_fields_and_version(name: str, shipped: Path) -> None:
    meta = read(shipped / name)
    assert set(meta) >= REQUIRED
    assert "optional_packages_version" not in meta
    assert isinstance(meta["supported_apps"], dict)
    assert meta["name"] == name
    assert meta["version"] == __version__ in meta["changelog"]
    assert meta["required_packages_version"]["oarseg"] == __version__
    assert "20240725" in meta["schema"]


def test_tensor_fields(name: str, shipped: Path, specs: dict) -> None:
    meta = read(shipped / name)
    spec = specs[name]
    organs = [spec.organ] if spec.organ else list(spec.site.organs)
    data = meta["network_data_format"]
    for group in (data["inputs"], data["outputs"], data["post_processed_outputs"]):
        for tensor in group.values():
            assert set(tensor) >= TENSOR
    assert data["inputs"]["image"]["num_channels"] == 1
    pred = data["outputs"]["pred"]
    assert pred["num_channels"] == len(pred["channel_def"]) == len(organs) + 1
    # MONAI Label takes the values of its labels from the network's channel_def.
    values = {"0": "background"} | {str(o.value): o.key for o in organs}
    assert pred["channel_def"] == data["post_processed_outputs"]["pred"]["channel_def"] == values
    if spec.organ:
        assert data["inputs"]["image"]["spatial_shape"] == list(spec.organ.grid)


def test_metadata_has_nothing_that_a_config_parser_would_mangle(name: str, shipped: Path) -> None:
    def strings(item):
        if isinstance(item, dict):
            for key, value in item.items():
                yield from (key, *strings(value))
        elif isinstance(item, list):
            for value in item:
                yield from strings(value)
        elif isinstance(item, str):
            yield item

    for text in strings(read(shipped / name)):
        assert "#" not in text
        assert not text.startswith(("%", "$", "@"))


def test_network_takes_and_gives_what_the_metadata_say(name: str, shipped: Path) -> None:
    folder = shipped / name / "configs"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(folder / "metadata.json"),
        config_file=str(folder / "inference.json"),
        device="cpu",
        n=1,
        p=3,
        any=32,
        bundle_root=str(shipped / name),
    )


def test_verify_net_in_out_would_notice_a_wrong_channel_count(shipped: Path, tmp_path: Path) -> None:
    folder = shipped / "eye_left_ct_segmentation" / "configs"
    meta = read(folder.parent)
    meta["network_data_format"]["outputs"]["pred"]["num_channels"] = 3
    (tmp_path / "metadata.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ValueError, match="channel"):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(tmp_path / "metadata.json"),
            config_file=str(folder / "inference.json"),
            device="cpu",
            n=1,
            p=3,
            any=32,
            bundle_root=str(folder.parent),
        )
