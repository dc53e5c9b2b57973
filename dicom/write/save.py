"""Write a DICOM dataset so that the final name holds a whole file or none, and say what was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

from oarseg.errors import OutputError
from oarseg.files import whole_file

_PYDICOM_3 = int(pydicom.__version__.split(".")[0]) >= 3


@dataclass(frozen=True)
class Written:
    """A DICOM object on disk. ``left_out``: names of the organs without a contour or a voxel."""

    path: Path
    sop_instance_uid: str
    series_uid: str
    written: tuple[str, ...]
    left_out: tuple[str, ...]


def save_whole(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` (little endian, VR as its file meta says) and flush it to the disk.

    An existing file is replaced. Raises OutputError where the folder is missing, not writable or full, or a value
    cannot be encoded; then nothing is left behind.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}; give one that exists")
    try:
        with whole_file(path, durable=True) as temporary, temporary.open("wb") as file:
            _encode(dataset, file)
    except (ValueError, TypeError, UnicodeError, AttributeError) as error:
        raise OutputError(f"{path.name} cannot be encoded as DICOM ({type(error).__name__} in a copied tag)") from error


def add_file_meta(dataset: Dataset, syntax: str) -> None:
    """Give ``dataset`` file meta information of its own SOP class and instance, and of a transfer syntax."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = syntax


def _encode(dataset: Dataset, file: BinaryIO) -> None:
    if _PYDICOM_3:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        return
    dataset.is_little_endian, dataset.is_implicit_VR = True, dataset.file_meta.TransferSyntaxUID.is_implicit_VR
    pydicom.dcmwrite(file, dataset, write_like_original=False)
