"""Sessions of ONNX Runtime whose inputs and output lie in memory that is there before and after a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from nas.errors import ConfigError

PACKAGES = ("onnx", "onnxruntime")
"""What is needed beside the package's own dependencies."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Accelerator -> what executes there in ONNX Runtime."""
ERRORS_ONLY = 3
"""Severity of what ONNX Runtime writes to the terminal."""


def installed_version(accelerator: str) -> str:
    """The version of ONNX Runtime.

    Args:
        accelerator: A key of `PROVIDERS`.

    Raises:
        ConfigError: If a package or the provider for the accelerator is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"runtime onnxruntime: {' and '.join(missing)} not installed: pip install 'segnas[export]'")
    import onnxruntime  # type: ignore[import-untyped]

    available = onnxruntime.get_available_providers()
    if PROVIDERS[accelerator] not in available:
        raise ConfigError(
            f"runtime onnxruntime: accelerator={accelerator} needs {PROVIDERS[accelerator]}, but this ONNX Runtime "
            f"{onnxruntime.__version__} has {', '.join(available)} only: pip install onnxruntime-gpu, or use accelerator=cpu"
        )
    return str(onnxruntime.__version__)


def open_session(content: bytes, *, accelerator: str, threads: int, stream: int = 0, name: str) -> Any:
    """A session that runs a graph on its accelerator alone, operation by operation, with all optimisations.

    Args:
        content: The serialised graph.
        accelerator: A key of `PROVIDERS`.
        threads: CPU threads inside one operation.
        stream: The CUDA stream to work on.
        name: What the graph is, for errors.

    Raises:
        ConfigError: If ONNX Runtime cannot run the graph, or not on the accelerator alone.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    provider, settings = PROVIDERS[accelerator], {}
    if accelerator == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {"device_id": str(torch.cuda.current_device()), "user_compute_stream": str(stream)}
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)], enable_fallback=0)
    except Exception as error:  # noqa: BLE001  the errors of ONNX Runtime have no class in common
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"onnxruntime: cannot run {name} with {provider}: {reason}; use accelerator=cpu or another runtime"
        ) from error
    if session.get_providers()[0] != provider:
        raise ConfigError(f"onnxruntime: {name} runs with {session.get_providers()}, expected {provider}; use accelerator=cpu")
    return session


def bound_call(session: Any, inputs: Mapping[str, Tensor], output: Tensor) -> Callable[[], None]:
    """A function that runs a session once from `inputs` into `output`; on a GPU it does not wait for the end.

    Args:
        session: With one output.
        inputs: Name -> contiguous tensor on the accelerator; those that the graph does not read are left out.
        output: A contiguous tensor of the output's shape and type on the accelerator.
    """
    import onnxruntime

    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_input(value.name, *_place(inputs[value.name]))
    (end,) = session.get_outputs()
    binding.bind_output(end.name, *_place(output))
    options = None  # an object that says nothing costs 32 us a call on a CPU (version 1.31), ten times what the call itself does
    if output.device.type == "cuda":
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    run, held = session.run_with_iobinding, (inputs, output)

    def call() -> None:
        assert held  # the memory lives as long as this function
        run(binding, options)

    return call


def _place(tensor: Tensor) -> tuple[str, int, Any, tuple[int, ...], int]:
    """Device, its number, element type, shape and address of a tensor."""
    dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype.type
    return tensor.device.type, tensor.device.index or 0, dtype, tuple(tensor.shape), tensor.data_ptr()
