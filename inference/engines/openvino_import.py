"""The one place that imports OpenVINO: without its telemetry, since nothing is to leave the machine."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

from oarseg.errors import ConfigError

INSTALL = "pip install 'oarseg[openvino]'"
INSTALL_CALIBRATE = "pip install 'oarseg[calibrate]'"


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
