"""Store contours on a server (STOW-RS). You can repeat it safely: the SOPInstanceUID stays the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.dataset import Dataset

from oarseg.dicomweb.ask import ask
from oarseg.dicomweb.server import HttpError, Server
from oarseg.errors import InputError, OutputError
from oarseg.files import reading_file

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

    from oarseg.inference.job import Result

DUPLICATE = 0x0111
# DICOM PS3.18 (store transaction) and PS3.4 annex B; of those with an X only the first digits count.
REASONS = {
    0x0110: "processing failure", 0x0117: "invalid SOP instance UID", 0x0122: "SOP class not supported",
    0x0124: "not authorized", 0x0213: "out of resources", 0xC122: "transfer syntax not supported",
}  # fmt: skip
REASON_CLASSES = {
    0xA7: "out of resources", 0xA9: "the data do not fit the SOP class", 0xC0: "cannot be understood",
}  # fmt: skip


class NotStored(OutputError):
    """Contours did not reach the server. ``result``: the result in its folder; None where none was made."""

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


def store(
    server: Server, files: Sequence[str | Path], tell: Callable[[str], None] = lambda note: None
) -> tuple[str, ...]:
    """Store DICOM files, all in one request; return their SOPInstanceUIDs.

    An instance that the server already has counts as stored. ``tell``: called with a line before the request is
    repeated. Raises InputError (a file is no DICOM), ConfigError (credentials) or NotStored, which names the files
    that were refused and why.
    """
    instances = {str(one.SOPInstanceUID): (one, Path(path).name) for path in files for one in [_read(Path(path))]}
    if not instances:
        raise InputError("no file is given to be stored")
    datasets = [one for one, _ in instances.values()]

    def call(client: DICOMwebClient) -> Dataset:
        # In one piece: not every server takes a request without a length.
        client.set_chunk_size(1 << 40)
        return client.store_instances(datasets)

    try:
        answer = ask(server, call, tell)
    except HttpError as error:
        answer = _parsed(error.content) if error.status in (400, 409) else Dataset()
        refused = _failures(answer)
        if not refused:
            raise NotStored(str(error)) from error
    except InputError as error:
        raise NotStored(str(error)) from error
    else:
        refused = _failures(answer)
    taken = {str(item.get("ReferencedSOPInstanceUID", "")) for item in _items(answer, "ReferencedSOPSequence")}
    # Some servers answer without any list, when all went well.
    missing = set(refused) | ((set(instances) - taken) if taken or refused else set())
    missing = {uid for uid in missing if refused.get(uid) != DUPLICATE}
    if missing:
        names = {uid: name for uid, (_, name) in instances.items()}
        lines = [_refusal(names.get(uid, "an instance"), refused.get(uid)) for uid in sorted(missing)]
        raise NotStored(f"{server.url} did not take {'; '.join(lines)}")
    return tuple(instances)


def how_to_store(server: Server, files: Sequence[Path]) -> str:
    """Return the command that stores the files."""
    options = [("--ca-bundle", server.ca_bundle), ("--token-file", server.token_file)]
    given = [part for option, value in options if value for part in (option, value)]
    return shlex.join(["oarseg", "dicomweb", "store", *given, server.url, *map(str, files)])


def _read(path: Path) -> Dataset:
    with reading_file(path, "DICOM", quote=False):
        dataset = pydicom.dcmread(path)
        if not dataset.get("SOPInstanceUID"):
            raise InputError(f"{path} has no SOPInstanceUID; give the DICOM files that oarseg wrote")
    return dataset


def _parsed(content: bytes) -> Dataset:
    try:
        return Dataset.from_json(json.loads(content))
    except Exception:  # noqa: BLE001 - a refusal without a reason that can be read
        return Dataset()


def _failures(answer: Dataset) -> dict[str, int | None]:
    """Return failure reasons by SOPInstanceUID ("" for an unnamed instance); None where no reason is given."""
    rows = [row for key in ("FailedSOPSequence", "OtherFailuresSequence") for row in _items(answer, key)]
    reasons = {str(row.get("ReferencedSOPInstanceUID", "")): row.get("FailureReason") for row in rows}
    return {uid: reason if isinstance(reason, int) else None for uid, reason in reasons.items()}


def _items(answer: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none of what is no sequence."""
    found = answer.get(keyword)
    return [item for item in found if isinstance(item, Dataset)] if isinstance(found, Sequence) else []


def _refusal(name: str, reason: int | None) -> str:
    if not reason:
        return f"{name} (no reason given)"
    known = REASONS.get(reason) or REASON_CLASSES.get(reason >> 8) or "see PS3.18 of the DICOM standard"
    return f"{name} ({known}, failure reason {reason:04X})"
