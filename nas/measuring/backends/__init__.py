"""Backends, which time operations and networks: one file a runtime, listed in `BACKENDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from nas.devices.runtime_name import RuntimeName
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.measuring.backends.onnx_runtime import OnnxRuntime
from nas.measuring.backends.torch_compile import TorchCompile
from nas.measuring.backends.torch_eager import TorchEager


class MakeRuntime(Protocol):
    """Maker of a backend: for a runtime, on an accelerator."""

    def __call__(self, runtime: RuntimeName, *, accelerator: str) -> ModuleRuntime:
        """Make it, or raise `ConfigError` where the runtime or the accelerator is not supported."""


BACKENDS: Mapping[str, MakeRuntime] = {
    "torch-eager": TorchEager,
    "torch-compile": TorchCompile,
    "onnxruntime": OnnxRuntime,
}
"""The key is the first part of a runtime's name."""

__all__ = ["BACKENDS", "ModuleRuntime", "MakeRuntime", "OnnxRuntime", "RuntimeName", "TorchCompile", "TorchEager"]
