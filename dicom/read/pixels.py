"""Stored pixel values -> Hounsfield units, slice by slice into one int16 volume."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from oarseg.dicom.guards import jpeg, jpeg2000
from oarseg.dicom.read.decoders import checked_frame, has_decoder, has_plugin, no_decoder
from oarseg.dicom.read.header import Header
from oarseg.dicom.read.jpeg2000 import Decoder, quick_decoder
from oarseg.errors import InputError
from oarseg.geometry.check_ct import MAX_VOXELS
from oarseg.process import without_warnings

# Pixels outside the scanned circle get this value, whatever padding value the scanner wrote there.
AIR_HU = -1000
# A declared padding value whose HU lies in this range is tissue: some scanners declare 0 and mean nothing by it.
TISSUE_HU = (-900, 3000)
INT16 = np.iinfo(np.int16)
# Uncompressed, little endian: implicit and explicit VR.
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
# Whose pixels are not compressed: deflated files and big endian, too.
PLAIN = (*NATIVE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
# Reading and NumPy leave the interpreter to the others; more threads than this wait for the disk.
THREADS = min(8, os.cpu_count() or 1)


def read_hu(slices: Sequence[Header], rows: int, columns: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the HU of the slices in the given order, decoded several at a time, and warnings.

    The result is int16 HU of shape (slices, rows, columns), rounded to 1 HU and clipped to the int16 range.
    Memory: the volume and a slice a thread.
    Raises InputError naming the file that cannot be decoded, or where there are more voxels than a CT has.
    """
    if len(slices) * rows * columns > MAX_VOXELS:
        size = f"{len(slices)} x {rows} x {columns}"
        raise InputError(f"the series has {size} voxels, more than {MAX_VOXELS:,}; give the planning CT alone")
    volume = np.empty((len(slices), rows, columns), dtype=np.int16)
    quick = quick_decoder(slices)

    def read(index: int) -> str | None:
        header = slices[index]
        stored = _stored(header, rows, columns, quick)
        if stored.shape != (rows, columns):
            raise InputError(f"{header.path.name}: decoded to {stored.shape}, expected {(rows, columns)}")
        return _to_hu(stored, header, volume[index])

    # Warnings are hushed once for all threads, since hushing is the process's.
    with without_warnings(), ThreadPoolExecutor(THREADS) as pool:
        try:
            seen = dict.fromkeys(warning for warning in pool.map(read, range(len(slices))) if warning)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return volume, tuple(seen)


def _stored(header: Header, rows: int, columns: int, quick: Decoder | None) -> np.ndarray:
    """Return the stored values of one slice, (rows, columns)."""
    text = header.text("BitsStored")
    bits = int(text) if text.isdecimal() and len(text) < 3 else 0
    plain = header.transfer_syntax in NATIVE and header.text("BitsAllocated") == "16" and header.pixel_start is not None
    if plain and 1 <= bits <= 16:
        return _native(header, rows, columns, bits)
    values = quick(header) if quick else None
    if values is None:
        values = _decode(header)
    # JPEG 2000 has the sign in its own header.
    return values if header.transfer_syntax in (*PLAIN, *jpeg2000.SYNTAXES) else _signed(values, bits)


def _native(header: Header, rows: int, columns: int, bits: int) -> np.ndarray:
    """Return uncompressed 16-bit values as they lie in the file, whose size ``check_content`` has checked."""
    signed = header.text("PixelRepresentation") == "1"
    try:
        values = np.fromfile(header.path, "<i2" if signed else "<u2", rows * columns, offset=header.pixel_start)
        # What lies in bits that are not in use is no part of the value (overlays once were there).
        values <<= 16 - bits
        values >>= 16 - bits
        return values.reshape(rows, columns)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "cut short"
        raise InputError(f"{header.path.name}: cannot be read ({reason}); transfer it again") from error


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Return signed ``values`` of ``bits`` bits with their sign, where an encoder left 0 in the bits above.

    Then none is negative and some are too large. Lossy compression makes single values too large as well, but beside
    negative ones: there is air around a patient.
    """
    spare = 8 * values.dtype.itemsize - bits
    if values.dtype.kind != "i" or bits < 1 or spare < 1 or values.min() < 0 or values.max() < 1 << (bits - 1):
        return values
    return (values << spare) >> spare


def _decode(header: Header) -> np.ndarray:
    """Return a slice decoded by pydicom, whatever the transfer syntax."""
    name, syntax = header.path.name, header.transfer_syntax
    if syntax not in PLAIN and not has_decoder(syntax):
        raise InputError(f"{name}: {no_decoder(syntax)}")
    try:
        dataset = pydicom.dcmread(header.path)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or 'cut short'}); transfer it again") from error
    except Exception as error:  # noqa: BLE001 - the header was good; an element that it does not need may be damaged
        raise InputError(f"{name}: cannot be read whole ({_short(error)}); export it again") from error
    if "PixelData" not in dataset:
        raise InputError(f"{name}: the file is cut short within the compressed pixel data; transfer it again")
    try:
        if syntax not in PLAIN:
            checked_frame(dataset, header)
        return dataset.pixel_array
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on damaged streams
        if syntax == jpeg.EXTENDED and not has_plugin(syntax):
            # Pillow takes it for its own, and then only 8 bits.
            raise InputError(f"{name}: {no_decoder(syntax)}") from error
        what = "the pixel data" if syntax in PLAIN else f"the pixel data ({UID(syntax).name})"
        raise InputError(f"{name}: {what} cannot be decoded ({_short(error)}); export it again") from error


def _short(error: Exception) -> str:
    # pydicom says first that all plugins failed, and then how.
    text = " ".join(str(error).rpartition("plugins:")[2].split())
    return f"{type(error).__name__}: {text[:160]}"


def _to_hu(stored: np.ndarray, header: Header, target: np.ndarray) -> str | None:
    """Rescale one slice into ``target`` (int16). Returns a warning where the declared padding was not applied."""
    slope, intercept = header.numbers("RescaleSlope", 1)[0], header.numbers("RescaleIntercept", 1)[0]
    if slope == 1 and _fits(stored, intercept):
        np.add(stored, int(intercept), out=target, dtype=np.int16, casting="unsafe")
    else:
        target[...] = _rescaled(stored, slope, intercept)
    padding = _padding(header.dataset, stored.dtype)
    if padding is None:
        return None
    low, high = padding
    in_hu = sorted((low * slope + intercept, high * slope + intercept))
    if in_hu[1] >= TISSUE_HU[0] and in_hu[0] < TISSUE_HU[1]:
        return f"PixelPaddingValue stands for {in_hu[0]:g} to {in_hu[1]:g} HU, which is tissue; it was not applied"
    target[(stored >= low) & (stored <= high)] = AIR_HU
    return None


def _fits(stored: np.ndarray, intercept: float) -> bool:
    """Return whether the stored values, the intercept and their sums are all int16, so that int16 can be added.

    Nearly every CT is so, and adding int16 takes a fraction of the time.
    """
    low, high = int(stored.min()), int(stored.max())
    ends = (low, high, intercept, low + intercept, high + intercept)
    return float(intercept).is_integer() and all(INT16.min <= end <= INT16.max for end in ends)


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if slope.is_integer() and intercept.is_integer():
        # int64: a 32-bit stored value times a slope cannot overflow it.
        hu = stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32) * int(slope) + int(intercept)
    else:
        hu = np.rint(stored.astype(np.float64) * slope + intercept)
    return np.clip(hu, INT16.min, INT16.max)


def _padding(dataset: Dataset, dtype: np.dtype) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that means padding, or None."""
    try:
        value = dataset.get("PixelPaddingValue")
        limit = dataset.get("PixelPaddingRangeLimit")
        first = _as_stored(value, dtype)
        last = first if limit in (None, "") else _as_stored(limit, dtype)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if first is None or last is None else (min(first, last), max(first, last))


def _as_stored(value: object, dtype: np.dtype) -> int | None:
    """Return a tag's value in the range of the stored pixels: unsigned beside signed pixels means two's complement."""
    if value is None or value == "":
        return None
    number, bits = int(value), dtype.itemsize * 8  # type: ignore[call-overload]
    if dtype.kind == "i" and number >= 1 << (bits - 1):
        return number - (1 << bits)
    if dtype.kind == "u" and number < 0:
        return number + (1 << bits)
    return number
