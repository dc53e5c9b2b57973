"""Zips of bundles: odd names, links, sizes and methods, entries twice, and other bytes."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from pathlib import Path

from hypothesis import strategies as st

from experiments.benchmarks.fuzz_bytes import byte_changes, changed, odd_text
from oarseg.bundles.unpack import REQUIRED, unpack
from oarseg.checksum import FILE, sha256

NAME, VERSION, WEIGHTS = "fuzz", "0.1.0", b"weights"
META = {"name": NAME, "version": VERSION, "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest()}
CONTENTS = dict.fromkeys(REQUIRED, b"{}") | {"configs/metadata.json": json.dumps(META).encode(), FILE: WEIGHTS}

names = st.one_of(
    st.sampled_from(
        [f"{NAME}/../../evil", "/tmp/oarseg-fuzz-evil", "../evil", f"{NAME}/a\\b", f"{NAME}/C:evil", f"{NAME}/",
         f"{NAME}//a",
         f"{NAME}/{'a' * 300}", f"{NAME}/{'a/' * 200}b", f"{NAME}/LICENSE/x", f"{NAME}/license", f"{NAME}/\0evil", NAME,
         f"{NAME}/.", f"{NAME}/é", f"{NAME}/e\u0301", f"{NAME}/con", f"{NAME}/configs"]
    ),
    odd_text.map(lambda text: f"{NAME}/{text}"),
)  # fmt: skip
KINDS = (0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
entries = st.tuples(names, st.sampled_from(KINDS), st.sampled_from(METHODS), st.sampled_from([0, 5, 1 << 16]))
odd_meta = st.sampled_from(
    [b"[]", b"{}", b"", b"\xff", b'"' + b"a" * 10, b"[" * 100_000, b'{"name": 5, "version": []}', b"null",
     json.dumps(META | {"weights_sha256": None}).encode(), json.dumps(META | {"version": "0.2.0"}).encode()]
)  # fmt: skip


@st.composite
def zip_files(draw: st.DrawFn) -> bytes:
    """A bundle's zip, changed within or as bytes."""
    contents = dict(CONTENTS)
    if draw(st.integers(0, 4)) == 0:
        contents["configs/metadata.json"] = draw(odd_meta)
    if draw(st.integers(0, 4)) == 0:
        del contents[draw(st.sampled_from(sorted(contents)))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"{NAME}/{name}", content)
        for name, kind, method, size in draw(st.lists(entries, max_size=2)):
            info = zipfile.ZipInfo("x")
            # Past the check that ZipInfo makes of a name; half a surrogate pair is none of a zip's characters.
            info.filename = name.encode("utf-8", "replace").decode()
            info.external_attr, info.compress_type = (kind | 0o644) << 16, method
            archive.writestr(info, bytes(size))
    return changed(buffer.getvalue(), draw(st.one_of(st.just([]), byte_changes)))


def unpacked_from(path: Path, into: Path) -> None:
    """Unpack the zip by its own checksum."""
    unpack(str(path), into, checksum=sha256(path))
