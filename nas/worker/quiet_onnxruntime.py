"""ONNX Runtime without its telemetry, which its packages bring from version 1.29 on."""

import os
from typing import Any


def import_onnxruntime() -> Any:
    """The package, told before it starts to send nothing: no uploads beside what is timed, and no identifier left on the device.

    Who has set `ORT_DISABLE_TELEMETRY` decides for themselves.

    Raises:
        ImportError: If it is not there.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]

    return onnxruntime
