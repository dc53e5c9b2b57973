"""OpenVINO on the CPU, with numpy arrays in and out; what it compiles is kept in the user's cache folder.

The one place that imports OpenVINO: without its telemetry, since nothing is to leave the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from oarseg import __version__
from oarseg.cpu import cpu_flags
from oarseg.errors import ConfigError, OutputError
from oarseg.files import PREFIX, write_bytes
from oarseg.inference.engines.choose import PRECISIONS
from oarseg.requires import needs

# Of the graphs that are compiled: to be raised when the same weights are built into another one.
REVISION = 1
HINTS = {"fp32": "f32", "bf16": "bf16"}
# Of the cache: how files begin and end, and how many are kept: two versions of nine networks in three precisions.
DIGEST_BYTES = 32
SUFFIX = ".blob"
KEPT = 64


class OpenVinoCore:
    """Compiles graphs for this CPU.

    Args: ``threads``: how many compute one pass; 0 leaves it to OpenVINO. ``cache``: where compiled graphs are kept;
    the user's cache folder by default. Raises ConfigError if OpenVINO is missing.
    """

    def __init__(self, threads: int = 0, cache: BlobCache | None = None) -> None:
        self.openvino = import_openvino()
        self.core = self.openvino.Core()
        self.threads = threads
        folder = cache_folder()
        self.cache = cache or BlobCache(folder / "openvino" if folder else None)
        capabilities = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # The quickest one in floats.
        self.float = "bf16" if "BF16" in capabilities else "fp32"

    def checked(self, precision: str) -> str:
        """Return ``precision``: "fp32", "bf16" or "int8". Raises ConfigError if this CPU does not have it."""
        if precision not in PRECISIONS["openvino"]:
            raise ConfigError(f"the engine openvino computes in {', '.join(PRECISIONS['openvino'])}, not {precision!r}")
        if precision == "bf16" != self.float:
            raise ConfigError("this CPU has no bfloat16 (AVX-512 bf16 or AMX); use openvino:fp32")
        return precision

    def compile(self, graph: Callable[[], Any], key: str, precision: str, size: Sequence[int] | None = None) -> Any:
        """Return the compiled form of what ``graph`` makes (an ``openvino.Model``), from the cache if it is there.

        Args: ``key``: tells this graph from all others. ``precision``: of its floats; that of "int8" graphs, which have
        their roundings within them, is the quickest here. ``size``: D, H, W of all images, which makes it quicker to
        load; None for any.
        """
        hint = HINTS.get(precision, HINTS[self.float])
        config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": self.threads}
        whole = (str(REVISION), key, hint, str(tuple(size or ())), *self._machine())
        if blob := self.cache.load(*whole):
            try:
                return self.core.import_model(blob, "CPU", config)
            except RuntimeError:
                # Written by another build of OpenVINO of the same version.
                self.cache.drop(*whole)
        model = graph()
        if size is not None:
            batch, channels = list(model.input(0).partial_shape)[:2]
            model.reshape(self.openvino.PartialShape([batch, channels, *size]))
        compiled = self.core.compile_model(model, "CPU", config)
        self.cache.store(compiled.export_model().getvalue(), *whole)
        return compiled

    def _machine(self) -> tuple[str, ...]:
        """What a compiled graph depends on besides itself."""
        name = self.core.get_property("CPU", "FULL_DEVICE_NAME")
        return __version__, self.openvino.__version__, name, platform.machine(), cpu_flags()


class CompiledNetwork:
    """Image (1, C, D, H, W) to logits, numpy float32 both. Compiled on first use; several threads may call it.

    Args: ``compiling`` gives the compiled model. ``factor``: what D, H and W must be multiples of.
    Raises ValueError on other sizes (OpenVINO would compute something), ConfigError where OpenVINO refuses the image.
    """

    def __init__(self, compiling: Callable[[], Any], factor: int = 1) -> None:
        self.factor = factor
        self._compiling: Callable[[], Any] | None = compiling
        self._compiled: Any = None
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if any(size % self.factor for size in image.shape[2:]):
            raise ValueError(f"spatial size {tuple(image.shape[2:])} must be multiples of {self.factor}")
        self.compile()
        request = self._compiled.create_infer_request()
        try:
            # The answer is the request's own memory, which lives as long as the array; the next pass has another.
            array = np.ascontiguousarray(image, dtype=np.float32)
            return request.infer([array], share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"OpenVINO cannot compute an image of size {tuple(image.shape)}: {reason}") from error

    def compile(self) -> None:
        """Compile the graph or load it from the cache, once."""
        with self._lock:
            if self._compiling:
                self._compiled, self._compiling = self._compiling(), None

    def release(self) -> None:
        """Give back the memory that passes keep for the next one: hundreds of MB after a pass over a whole body."""
        # While another thread's pass needs it, OpenVINO refuses to.
        with self._lock, contextlib.suppress(RuntimeError):
            if self._compiled is not None:
                self._compiled.release_memory()


def import_openvino() -> ModuleType:
    """Return the module ``openvino``. Raises ConfigError with the pip command if it is missing or does not load."""
    # On import and on conversion OpenVINO (and NNCF) report to Google Analytics. Where the package that does it cannot
    # be imported, both fall back to stubs of their own.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        if getattr(error, "name", "") == "openvino":
            raise ConfigError(needs("the engine openvino", "openvino")) from error
        reason = str(error).splitlines()[0]
        raise ConfigError(f"OpenVINO does not load ({reason}); install it again: pip install openvino") from error
    return openvino


def import_nncf() -> ModuleType:
    """Return the module ``nncf``, for calibration. Raises ConfigError with the pip command if it is not installed."""
    import_openvino()
    try:
        import nncf
    except ImportError as error:
        raise ConfigError(needs("calibration", "nncf")) from error
    return nncf


def cache_folder() -> Path | None:
    """Return the platform's folder for what oarseg can compute again; it need not exist.

    None for users without a home, such as those that containers run as any number.
    """
    try:
        folder = user_cache_path("oarseg", appauthor=False)
    except RuntimeError:
        return None
    # Earlier versions of platformdirs give "~/.cache" where there is no home, and take relative paths from variables.
    return folder if folder.is_absolute() else None


class BlobCache:
    """Bytes by key, one file each, in ``folder``; safe with many processes at once and with damaged files.

    A file holds its content's SHA-256 and then the content. It is written under another name and renamed when whole, so
    that readers see all of it or nothing. A file that does not fit its checksum is removed. If the folder cannot be
    written or is None, nothing is kept, without a message. Of more than ``kept`` files, the least recently used are
    removed.

    OpenVINO runs what lies here. The checksum protects against damage. Against other users it helps that the folder
    must belong to the user and that nobody else may write to it; otherwise nothing is read or kept.
    """

    def __init__(self, folder: Path | None, kept: int = KEPT) -> None:
        self.folder, self.kept = folder, kept

    def load(self, *key: str) -> bytes | None:
        """Return what was stored under ``key``, or None."""
        try:
            path = self._path(key)
            if not self._trusted():
                return None
            content = path.read_bytes()
        except OSError:
            return None
        blob = content[DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() != content[:DIGEST_BYTES]:
            self.drop(*key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return blob

    def store(self, blob: bytes, *key: str) -> None:
        """Keep ``blob`` under ``key``."""
        with contextlib.suppress(OSError, OutputError):
            path = self._path(key)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted():
                return
            write_bytes(path, hashlib.sha256(blob).digest() + blob, mode=0o600)
            self._prune()

    def drop(self, *key: str) -> None:
        """Forget what was stored under ``key``."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _trusted(self) -> bool:
        """Whether nobody else can put files into the folder. Raises OSError where there is none."""
        if os.name != "posix":
            return True
        state = self.folder.stat()
        return state.st_uid == os.getuid() and not state.st_mode & 0o022

    def _path(self, key: tuple[str, ...]) -> Path:
        if self.folder is None:
            raise FileNotFoundError("no folder for the cache")
        return self.folder / (hashlib.sha256("\n".join(key).encode()).hexdigest() + SUFFIX)

    def _prune(self) -> None:
        """Remove the files used longest ago, and what interrupted processes left more than a day ago."""
        used = {}
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                used[path] = path.stat().st_mtime
        blobs = sorted((p for p in used if p.suffix == SUFFIX), key=used.__getitem__, reverse=True)
        left = [p for p in used if p.name.startswith(PREFIX) and used[p] < time.time() - 86400]
        for path in blobs[self.kept :] + left:
            with contextlib.suppress(OSError):
                path.unlink()
