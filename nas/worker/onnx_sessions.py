"""Runtimes `onnxruntime` and `onnxruntime-tensorrt`: ONNX Runtime's CPU, CUDA and TensorRT providers, from version 1.8 on.

Inputs and output are bound to memory that was there before, on the device: inside a network one operation leaves its output to the
next. On a GPU the calls of a sample follow each other without waiting where the version can do that (`details["waits"]`).
The CUDA and TensorRT providers are not yet run on hardware.
"""

import hashlib
import os
import re
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

from nas.worker.example_values import run_of, smooth_numbers
from nas.worker.interface import Operation, Run, Runtime, Setup, WorkerError
from nas.worker.quiet_onnxruntime import import_onnxruntime

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
ERRORS_ONLY = 3
"""Severity of what ONNX Runtime writes to the terminal."""
SETTLING = 2
"""Runs of a session before it is timed: the first finds out how much memory it needs, the second takes that from the system. Where
a session is opened anew in each round, a map of 44 MB took ten times as long in them as from the third run on. [measured]"""
NO_WAIT = "disable_synchronize_execution_providers"
NO_FALLBACK = "session.disable_cpu_ep_fallback"


class OnnxSessions(Runtime):
    """Times ONNX graphs, each in a session of its own.

    With more than one thread a session's threads go on waiting busily after a call, on cores that what is timed next would need;
    so only one session is open at a time then, and the first call after another one's opens it again.

    Args:
        setup: Precision fp32; with the TensorRT provider also fp16.
        provider: The execution provider; None: the one of the accelerator.

    Raises:
        WorkerError: If ONNX Runtime, NumPy or the provider is not installed, or the precision is not supported.
    """

    def __init__(self, setup: Setup, *, provider: Optional[str] = None) -> None:
        self._ort, self._numpy = _packages()
        self._setup = setup
        self._provider = provider or PROVIDERS[setup.accelerator]
        allowed = ("fp32", "fp16") if self._provider == TENSORRT_PROVIDER else ("fp32",)
        if setup.precision not in allowed:
            raise WorkerError(
                f"onnxruntime: got precision {setup.precision!r}, expected {' or '.join(allowed)} with {self._provider}"
            )
        available = self._ort.get_available_providers()
        if self._provider not in available:
            raise WorkerError(
                f"onnxruntime: this build ({self._ort.__version__}) has {', '.join(available)}, expected {self._provider}; "
                "install onnxruntime-gpu, or NVIDIA's build for the Jetson"
            )
        self.version = str(self._ort.__version__)
        self.details = {"provider": self._provider, "numpy": str(self._numpy.__version__)}
        if self._provider != PROVIDERS["cpu"]:
            self.graphs = False
            refuses = [int(part) for part in re.findall(r"\d+", self.version)[:2]] >= [1, 16]
            self.details["operators that have no GPU kernel"] = (
                "refused" if refuses else "run on the CPU unseen: ONNX Runtime before 1.16 cannot refuse them"
            )
            self.details["waits"] = "at the end of a sample" if self._has_run_entries() else "after each call"
        self._open: List[Any] = []  # the one session that may be open with several threads

    def open(self, operation: Operation) -> Run:
        """Open a session; raises `WorkerError` where ONNX Runtime refuses the graph or the provider."""
        with open(operation.path, "rb") as file:  # the graph is read once: its file does not last
            return self.open_graph(file.read(), operation)

    def open_graph(self, content: bytes, operation: Operation) -> Run:
        """The same as `open` for a graph in memory."""
        call: List[Any] = []

        def run(calls: int) -> float:
            self._let_open(call, content, operation)
            session, binding, options = call[0]
            if options is not None:
                session.run_with_iobinding(binding, options)
                binding.synchronize_outputs()
            start = time.perf_counter()
            for _ in range(calls):
                session.run_with_iobinding(binding, options)
            if options is not None:
                binding.synchronize_outputs()
            return (time.perf_counter() - start) / calls * 1e3

        self._let_open(call, content, operation)
        return run

    def _let_open(self, call: List[Any], content: bytes, operation: Operation) -> None:
        """Open the session of an operation in `call`, unless it is; with several threads the one that was open ends with them."""
        if self._setup.threads > 1 and self._open is not call:
            self._open.clear()
        if not call:
            call.append(self._bound(content, operation))
        self._open = call

    def _bound(self, content: bytes, operation: Operation) -> Tuple[Any, Any, Any]:
        """Session, binding and run options; None for options that would change nothing."""
        session = self._session(content, operation)
        binding = session.io_binding()
        device = "cpu" if self._provider == PROVIDERS["cpu"] else "cuda"
        held = []
        for name, shape in operation.inputs:
            numbers = self._numpy.resize(self._numpy.array(smooth_numbers(run_of(shape)), dtype="float32"), shape)
            value = self._ort.OrtValue.ortvalue_from_numpy(numbers, device, 0)
            binding.bind_ortvalue_input(name, value)
            held.append(value)
        (end,) = session.get_outputs()
        zeros = self._numpy.zeros(operation.output, dtype=operation.output_type)
        output = self._ort.OrtValue.ortvalue_from_numpy(zeros, device, 0)
        binding.bind_ortvalue_output(end.name, output)
        options = None
        if device == "cuda" and self._has_run_entries():
            options = self._ort.RunOptions()
            options.add_run_config_entry(NO_WAIT, "1")
        binding.held = (held, zeros, output)  # the memory lives as long as the binding
        for _ in range(SETTLING):
            session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return session, binding, options

    def _session(self, content: bytes, operation: Operation) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._setup.threads, 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = ERRORS_ONLY
        if self._provider != PROVIDERS["cpu"] and hasattr(options, "add_session_config_entry"):
            options.add_session_config_entry(NO_FALLBACK, "1")
        session = self._made(content, options, operation)
        read, made = (
            [(value.name, tuple(value.shape)) for value in values] for values in (session.get_inputs(), session.get_outputs())
        )
        if sorted(read) != sorted(operation.inputs) or [shape for _, shape in made] != [operation.output]:
            raise WorkerError(
                f"onnxruntime: the graph of {operation.key} reads {read} and makes {made}, expected {operation.inputs} and "
                f"{operation.output} as the job states; make the bundle again"
            )
        return session

    def _made(self, content: bytes, options: Any, operation: Operation) -> Any:
        """A session in which the provider takes part: one that cannot be loaded is replaced by the CPU's, without an error."""
        providers = self._providers(content)
        wanted = [one if isinstance(one, str) else one[0] for one in providers]
        errors = _StandardError(is_kept=self._provider != PROVIDERS["cpu"])
        try:
            with errors:
                session = self._ort.InferenceSession(content, options, providers=providers, enable_fallback=0)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise self._refusal(operation, errors, reason) from error
        there = list(session.get_providers())
        if there[: len(wanted)] != wanted:
            raise self._refusal(operation, errors, f"it would run with {', '.join(there)}, expected {', '.join(wanted)}")
        errors.show()
        return session

    def _refusal(self, operation: Operation, errors: "_StandardError", reason: str) -> WorkerError:
        not_loaded = loading_failure(errors.text)
        if not_loaded is None:
            errors.show()
        return WorkerError(f"onnxruntime: cannot run {operation.key} with {self._provider}: {not_loaded or reason}")

    def _providers(self, content: bytes) -> List[Any]:
        if self._provider != TENSORRT_PROVIDER:
            return [self._provider]
        # The provider names an engine after the names in a graph, not after shapes (onnxruntime #32254): graphs need folders.
        folder = os.path.join(self._setup.folder, "engines", hashlib.sha256(content).hexdigest()[:32])
        os.makedirs(folder, exist_ok=True)
        options: Dict[str, str] = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_fp16_enable": str(self._setup.precision == "fp16"),
        }
        return [(TENSORRT_PROVIDER, options), (PROVIDERS["cuda"], {})]

    def _has_run_entries(self) -> bool:
        return hasattr(self._ort.RunOptions(), "add_run_config_entry")


def loading_failure(text: str) -> Optional[str]:
    """The reason why a provider's library was not loaded, in what ONNX Runtime writes to the terminal; None where it says none.

    >>> loading_failure("[E:onnxruntime] : Failed to load library /opt/capi/libx_cuda.so with error: libcudnn.so.9: cannot open")
    'libx_cuda.so cannot be loaded: libcudnn.so.9: cannot open; put that library where the linker finds it (LD_LIBRARY_PATH)'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    failed = re.search(r"Failed to load library (\S+) with error: ([^\n]+)", text)
    if failed is None:
        return None
    needs = re.search(r"Failed to create \w+\. (Require [^\n]+?)\. Please", text)
    asks = "put that library where the linker finds it (LD_LIBRARY_PATH)" if needs is None else f"this build says: {needs.group(1)}"
    words = "".join(c if c.isprintable() else " " for c in f"{failed.group(2).strip()[:200]}; {asks[:200]}")
    return f"{os.path.basename(failed.group(1))} cannot be loaded: {words}"


class _StandardError:
    """What is written to the standard error of this process meanwhile, by libraries in C++ above all.

    Args:
        is_kept: Whether to keep it; else it goes where it goes.
    """

    def __init__(self, *, is_kept: bool) -> None:
        self._is_kept = is_kept
        self._content = b""

    @property
    def text(self) -> str:
        """What was kept."""
        return self._content.decode("utf-8", "replace")

    def show(self) -> None:
        """Write what was kept to the standard error."""
        if self._content:
            os.write(2, self._content)

    def __enter__(self) -> "_StandardError":
        """Begin to keep it, where there is a standard error."""
        if self._is_kept:
            try:
                self._file, self._before = tempfile.TemporaryFile(), os.dup(2)
            except OSError:
                self._is_kept = False
        if self._is_kept:
            os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        """Let it go again where it went before."""
        if self._is_kept:
            os.dup2(self._before, 2)
            os.close(self._before)
            with self._file as file:
                file.seek(0)
                self._content = file.read()


def open_onnxruntime(setup: Setup) -> Runtime:
    """ONNX Runtime with the provider of the accelerator."""
    return OnnxSessions(setup)


def open_onnxruntime_tensorrt(setup: Setup) -> Runtime:
    """ONNX Runtime with its TensorRT provider; what TensorRT leaves over runs with the CUDA provider."""
    return OnnxSessions(setup, provider=TENSORRT_PROVIDER)


def _packages() -> Tuple[Any, Any]:
    try:
        import numpy

        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise WorkerError(f"onnxruntime: {error}; install it for this Python: pip3 install onnxruntime") from error
    if not hasattr(onnxruntime, "OrtValue"):
        raise WorkerError(f"onnxruntime: got version {onnxruntime.__version__}, expected 1.8 or newer, which can bind memory")
    return onnxruntime, numpy
