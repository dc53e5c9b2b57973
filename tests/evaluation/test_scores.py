"""The stored format: whole numbers out, the same numbers in, and a clear word on anything else."""

from __future__ import annotations

import pytest

from oarseg.errors import ConfigError, InputError, OutputError
from oarseg.evaluation.scores import FIELDS, read_scores, write_scores


def row(case="a", organ="mandible", dice=0.8, **changes) -> dict:
    full = {
        "case": case, "organ": organ, "dice": dice, "surface_dice": 0.7, "hd95_mm": 3.1, "msd_mm": 1.2,
        "centroid_mm": 0.5, "reference_cm3": 10.0, "predicted_cm3": 11.0, "volume_error_cm3": 1.0,
        "volume_error_percent": 10.0, "status": "ok", "swapped": False, "tolerance_mm": 2.0,
    }  # fmt: skip
    return full | changes


MISSED = row(
    "b", dice=0.0, surface_dice=0.0, hd95_mm=None, msd_mm=None, centroid_mm=None, status="missed", swapped=True
)
ABSENT = row("c", dice=None, surface_dice=None, hd95_mm=None, volume_error_percent=None, status="absent")


def test_what_is_written_is_read(tmp_path):
    rows = [row(), MISSED, ABSENT, row("d, \"quoted\"")]
    write_scores(tmp_path / "new" / "scores.csv", rows)
    assert read_scores(tmp_path / "new" / "scores.csv") == rows
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scores.csv"]
    head = (tmp_path / "new" / "scores.csv").read_text().splitlines()[0]
    assert head.startswith("case,organ,dice,") and head.split(",") == list(FIELDS)


def test_an_earlier_file_stays_whole_when_writing_fails(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores(path, [row()])
    with pytest.raises(ValueError, match="stranger"):
        write_scores(path, [row("z"), row("y", stranger=1)])
    assert read_scores(path) == [row()] and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_scores(tmp_path / "file" / "scores.csv", [row()])


@pytest.mark.parametrize(
    "before, after, said",
    [
        ("a,mandible,0.8,", "a,mandible,many,", "line 2: dice is 'many'"),
        ("a,mandible,0.8,", "a,mandible,nan,", "finite"),
        ("a,mandible,0.8,", "a,mandible,,", "does not go with status 'ok'"),
        ("a,mandible,0.8,", ",mandible,0.8,", "must be named"),
        (",ok,", ",fine,", "status 'fine'"),
        (",False,", ",no,", "swapped is 'no'"),
        ("False,2.0", "False,2.0,9", "another number"),
        ("False,2.0", "False", "another number"),
        ("dice,", "dise,", "lacks the columns dice"),
    ],
)
def test_malformed_files_are_told_by_line(before, after, said, tmp_path):
    path = tmp_path / "scores.csv"
    write_scores(path, [row()])
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=said):
        read_scores(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no scores at"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 20)
    with pytest.raises(ConfigError, match="no text"):
        read_scores(tmp_path / "binary.csv")
    (tmp_path / "head.csv").write_text(",".join(FIELDS) + "\n")
    with pytest.raises(ConfigError, match="holds no row"):
        read_scores(tmp_path / "head.csv")
    write_scores(tmp_path / "twice.csv", [row(), row()])
    with pytest.raises(ConfigError, match="two rows"):
        read_scores(tmp_path / "twice.csv")


def test_words_of_a_file_are_printable(tmp_path):
    write_scores(tmp_path / "scores.csv", [row("a\x1b[2J")])
    assert read_scores(tmp_path / "scores.csv")[0]["case"] == "a\\x1b[2J"
