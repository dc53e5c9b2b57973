"""Writes a dataset so that the final name holds a whole file or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from oarseg.errors import OutputError

_PYDICOM_3 = int(pydicom.__version__.split(".")[0]) >= 3


def save_whole(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` (little endian, VR as its file meta says) to a temporary name beside ``path`` and rename it.

    An existing file is replaced. Raises OutputError where the folder is missing, not writable or full, or a value
    cannot be encoded; the temporary file is removed then.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            _encode(dataset, file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives the owner alone access; a result has the permissions of any new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); give a folder that exists, is writable and has room"
        ) from error
    except (ValueError, TypeError, UnicodeError, AttributeError) as error:
        raise OutputError(f"{path.name} cannot be encoded as DICOM ({type(error).__name__} in a copied tag)") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _encode(dataset: Dataset, file: object) -> None:
    if _PYDICOM_3:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        return
    dataset.is_little_endian, dataset.is_implicit_VR = True, dataset.file_meta.TransferSyntaxUID.is_implicit_VR
    pydicom.dcmwrite(file, dataset, write_like_original=False)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
