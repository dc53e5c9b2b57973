"""``LoadImaged`` that does not take an image without a path for the current folder."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.data import ImageReader
from monai.transforms import LoadImaged

from oarseg.errors import InputError


class LoadCTd(LoadImaged):
    """``LoadImaged``, but an empty path is refused, not read as the current folder and whatever CT lies there.

    MONAI Label so names an image that its datastore does not have. Arguments are those of ``LoadImaged``.
    Raises InputError.

    >>> LoadCTd(keys="image")({"image": ""})                       # doctest: +SKIP
    InputError: no image: its path is empty; give the name of one that is there
    """

    def __call__(self, data: Mapping[Hashable, object], reader: ImageReader | None = None) -> dict:
        for key in self.key_iterator(dict(data)):
            if isinstance(data[key], str) and not data[key]:
                raise InputError(f"no {key}: its path is empty; give the name of one that is there")
        return super().__call__(data, reader)
