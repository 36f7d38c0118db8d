"""Settings of every verb, and the checks of their values. Jobs are also found here, as in version 0.1; loaded when asked for."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401  a job's class
    if name.endswith("Job"):
        for module in ("nas.config.jobs", "nas.config.measuring_jobs"):
            if hasattr(importlib.import_module(module), name):
                return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
