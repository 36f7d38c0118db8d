"""Runtime `torch-script`: TorchScript files in whatever PyTorch the device has, on its CPU or its CUDA GPU.

The CUDA part is not yet run on hardware.
"""

from typing import Any, List

from nas.worker.example_values import smooth_tensor
from nas.worker.host_memory import keep_freed_memory
from nas.worker.interface import CUDA_EVENTS, Operation, Run, Runtime, Setup, WorkerError
from nas.worker.torch_timing import timed_on_cpu, timed_on_cuda


class TorchScript(Runtime):
    """Times scripts in evaluation mode without gradients.

    Args:
        setup: Precision fp32.

    Raises:
        WorkerError: If PyTorch is not installed or sees no GPU where one is wanted, or the precision is another one.
    """

    def __init__(self, setup: Setup) -> None:
        if setup.precision != "fp32":
            raise WorkerError(f"torch-script: got precision {setup.precision!r}, expected fp32")
        try:
            import torch
        except ImportError as error:
            raise WorkerError(f"torch-script: {error}; install PyTorch for this Python, on a Jetson NVIDIA's wheel") from error
        if setup.accelerator == "cuda" and not torch.cuda.is_available():
            raise WorkerError("torch-script: PyTorch sees no CUDA GPU here; use accelerator=cpu")
        self._torch: Any = torch
        self._device = setup.accelerator
        self.version = str(torch.__version__)
        self.details = {"freed memory": "kept by the process" if keep_freed_memory() else "as the system has it"}
        if self._device == "cuda":
            self.clock, self.graphs = CUDA_EVENTS, False
            self.details["cuda"] = str(torch.version.cuda)
            self.details["tf32"] = str(bool(getattr(torch.backends.cudnn, "allow_tf32", False)))
        torch.set_num_threads(setup.threads)

    def open(self, operation: Operation) -> Run:
        """Load a script; raises `WorkerError` where this PyTorch cannot read or run it."""
        torch = self._torch
        try:
            module = torch.jit.load(operation.path, map_location=self._device).eval()
            inputs: List[Any] = [smooth_tensor(torch, shape).to(self._device) for _, shape in operation.inputs]
            with torch.no_grad():
                got = tuple(module(*inputs).shape)
        except Exception as error:
            reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            raise WorkerError(f"torch-script: PyTorch {self.version} cannot run {operation.key}: {reason}") from error
        if got != operation.output:
            raise WorkerError(
                f"torch-script: PyTorch {self.version} makes {got} of {operation.key}, expected {operation.output}; "
                "make the bundle again"
            )

        def run(calls: int) -> float:
            with torch.no_grad():
                if self._device == "cuda":
                    return timed_on_cuda(torch.cuda, module, inputs, calls)
                return timed_on_cpu(module, inputs, calls)

        return run
