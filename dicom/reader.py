"""The CT series reader as MONAI's LoadImage expects it.

>>> load = LoadImaged(keys="image", reader=CtSeriesReader)         # doctest: +SKIP
>>> load({"image": "planning_ct"})["image"].shape                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys

from oarseg.dicom.read.header import Header, read_header
from oarseg.dicom.read.series import CtGrid, CtVolume, read_ct
from oarseg.errors import InputError, OarsegError


class CtSeriesReader(ImageReader):
    """Reads a folder with a DICOM CT series into int16 HU of shape (slices, rows, columns), without channel.

    Metadata: ``affine`` and ``original_affine`` (index to RAS+ mm), ``space``, ``spatial_shape``.

    Args:
        series: which CT series, where the folder holds several (UID, end of a UID, or series number).

    After loading, ``grid`` is the ``CtGrid`` of the last series read, as ``write_rtstruct`` needs it. It holds no
    pixels, so the volume is freed when MONAI is done with it.

    A folder that is refused raises in ``get_data``, not in ``read``: LoadImage takes an error of ``read`` as "try the
    next reader", and MONAI's own DICOM reader would then load the refused series without a word.
    """

    def __init__(self, series: str | None = None) -> None:
        super().__init__()
        self.series = series
        self.grid: CtGrid | None = None

    def verify_suffix(self, filename: Sequence[str | Path] | str | Path) -> bool:
        """True for one folder; a series is never a single file."""
        try:
            return _one_path(filename).is_dir()
        except InputError:
            return False

    def read(self, data: Sequence[str | Path] | str | Path, **_: object) -> CtVolume | OarsegError:
        """Read the series in the folder ``data``.

        Raises InputError only for what is neither a folder nor DICOM (such as a NIfTI file), so that LoadImage goes
        on to the reader for it. What is wrong with a folder is returned, and raised by ``get_data``.
        """
        path = _one_path(data)
        if path.is_file() and not isinstance(read_header(path), Header):
            raise InputError(f"{path} is no DICOM folder")
        self.grid = None
        try:
            volume = read_ct(path, self.series)
        except OarsegError as error:
            return error
        self.grid = volume.grid()
        return volume

    def get_data(self, img: CtVolume | OarsegError) -> tuple[np.ndarray, dict]:
        """The array and the metadata. Raises InputError or GeometryError where the folder was refused."""
        if isinstance(img, OarsegError):
            raise img
        return img.hu, {
            MetaKeys.AFFINE: img.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: img.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.asarray(img.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan"),
        }


def _one_path(data: Sequence[str | Path] | str | Path) -> Path:
    if isinstance(data, (str, Path)):
        return Path(data)
    if len(data) != 1:
        raise InputError(f"{len(data)} paths given, expected one folder with a CT series")
    return Path(data[0])
