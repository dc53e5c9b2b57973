"""OpenVINO on the CPU, with numpy arrays in and out; what it compiles is kept in the user's cache folder.

The one place that imports OpenVINO: without its telemetry, since nothing is to leave the machine.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from oarseg import __version__
from oarseg.cpu import cpu_flags
from oarseg.errors import ConfigError
from oarseg.inference.engines.cache import BlobCache, cache_folder

INSTALL = "pip install 'oarseg[openvino]'"
INSTALL_CALIBRATE = "pip install 'oarseg[calibrate]'"
PRECISIONS = ("fp32", "bf16", "int8")
# Of the graphs that are compiled: to be raised when the same weights are built into another one.
REVISION = 1
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoCore:
    """Compiles graphs for this CPU.

    Args: ``threads``: how many compute one pass; 0 leaves it to OpenVINO. ``cache``: where compiled graphs are kept;
    the user's cache folder by default. Raises ConfigError where OpenVINO is missing.
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
        """``precision``, one of "fp32", "bf16" and "int8". Raises ConfigError where this CPU has it not."""
        if precision not in PRECISIONS:
            raise ConfigError(f"the engine openvino computes in {', '.join(PRECISIONS)}, not {precision!r}")
        if precision == "bf16" != self.float:
            raise ConfigError("this CPU has no bfloat16 (AVX-512 bf16 or AMX); use openvino:fp32")
        return precision

    def compile(self, graph: Callable[[], Any], key: str, precision: str, size: Sequence[int] | None = None) -> Any:
        """The compiled form of what ``graph`` makes (an ``openvino.Model``), or what the cache has of it.

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
    """Image (1, C, D, H, W) to logits, numpy float32 both. Compiled when first asked; for several threads at once.

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
        """Compile, or load what the cache has, unless that was done."""
        with self._lock:
            if self._compiling:
                self._compiled, self._compiling = self._compiling(), None

    def release(self) -> None:
        """Give back what passes left for the next one: hundreds of MB after one over a whole body."""
        # While another thread's pass needs it, OpenVINO refuses to.
        with self._lock, contextlib.suppress(RuntimeError):
            if self._compiled is not None:
                self._compiled.release_memory()


def installed() -> bool:
    """Whether OpenVINO can be imported; does not import it."""
    try:
        spec = find_spec("openvino")
    except ImportError:
        return False
    # A folder that was left behind is found too, as a namespace package, which has no origin.
    return spec is not None and spec.origin is not None


def import_openvino() -> ModuleType:
    """The module ``openvino``. Raises ConfigError with the pip command where it is not installed or does not load."""
    # On import and on conversion OpenVINO (and NNCF) report to Google Analytics. Where the package that does it cannot
    # be imported, both fall back to stubs of their own.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        if getattr(error, "name", "") == "openvino":
            raise ConfigError(f"the engine openvino needs the package openvino; install it: {INSTALL}") from error
        reason = str(error).splitlines()[0]
        raise ConfigError(f"OpenVINO does not load ({reason}); install it again: {INSTALL}") from error
    return openvino


def import_nncf() -> ModuleType:
    """The module ``nncf``, for calibration. Raises ConfigError with the pip command where it is not installed."""
    import_openvino()
    try:
        import nncf
    except ImportError as error:
        raise ConfigError(f"calibration needs the package nncf; install it: {INSTALL_CALIBRATE}") from error
    return nncf
