"""TensorRT through its Python package, with memory, stream and events of the CUDA runtime.

What a version can do is read from the attributes of its objects. Tested against a fake of the interfaces of TensorRT 7.1, 8.2, 8.6,
10.3 and 11.0 with a simulated clock; not yet run on hardware.
"""

import importlib
from typing import Any, Callable, List, NamedTuple, Optional, Set

from nas.worker.cuda import Cuda, DeviceMemory, cuda_facts
from nas.worker.engines import (
    EngineKind,
    check_int8_capability,
    check_tensorrt_setup,
    common_details,
    engine_path,
    is_engine,
    jetson_board,
    lasting_folder,
    read_onnx,
    timing_cache_path,
    workspace_mib,
    write_engine_file,
)
from nas.worker.interface import CUDA_EVENTS, Operation, Run, Runtime, Setup, WorkerError

_DUMMY_RANGE = (-4.0, 4.0)
_KEPT: List[Any] = []
"""Objects of TensorRT that came without CUDA: 11.4 crashes where one of them is deleted."""


class UnusablePackageError(WorkerError):
    """The package is there, but cannot make its objects here."""


class EngineBuffer(NamedTuple):
    """The memory of one input or output of an engine.

    Fields:
        name: Its name; of versions before 8.5 its index as text.
        memory: Where it is.
    """

    name: str
    memory: DeviceMemory


class LoadedEngine(NamedTuple):
    """State of a run: an engine must outlive its context, and the buffers the calls.

    Fields:
        operation: For messages.
        engine: Of TensorRT.
        context: Of the engine.
        buffers: Its inputs and outputs.
        enqueue: Enqueues one execution; whether that succeeded.
    """

    operation: Operation
    engine: Any
    context: Any
    buffers: List[EngineBuffer]
    enqueue: Callable[[], bool]


def import_tensorrt() -> Any:
    """The Python package `tensorrt`.

    Raises:
        WorkerError: If it cannot be imported; the reason stands in it.
    """
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError, RuntimeError) as error:  # the package raises each of them where a library of it is missing
        reason = (str(error).splitlines() or ["?"])[0]
        raise WorkerError(
            f"Python package tensorrt: cannot be imported ({reason}); expected it installed for this Python"
        ) from None


class TensorrtPackage(Runtime):
    """TensorRT through its Python package: a sample is the mean of calls that are enqueued one after the other.

    A call is a CUDA graph, as with trtexec: otherwise short operations would wait for the host. What cannot be captured is
    enqueued, which the details say.

    Args:
        setup: Precision, accelerator (`cuda`) and the folder for engines and the timing cache.
        trt: The package.
        cuda: The CUDA runtime.
        root: Prefix of the system's files.

    Raises:
        WorkerError: If it cannot build for the precision.
        UnusablePackageError: If TensorRT cannot be set up here; the reason stands in it.
    """

    clock = CUDA_EVENTS
    graphs = True

    def __init__(self, setup: Setup, *, trt: Any, cuda: Cuda, root: str = "/") -> None:
        board = jetson_board(root)
        check_tensorrt_setup(setup, board=board)
        check_int8_capability(setup.precision, capability=cuda.compute_capability)
        if setup.precision != "fp32" and not hasattr(trt.BuilderFlag, setup.precision.upper()):
            raise WorkerError(
                f"Python package tensorrt {trt.__version__}: got precision {setup.precision}, but it builds in the types of the "
                "graph; expected fp32, or TensorRT 10 or older"
            )
        self.version = str(trt.__version__)
        self._trt, self._cuda = trt, cuda
        self._folder = lasting_folder(setup)
        self._without: Set[str] = set()
        self.without_graph = self._without
        self._errors: List[str] = []
        self._warnings: List[str] = []
        self._logger = _collecting_logger(trt, self._errors, self._warnings)
        self._runtime = self._made("Runtime", lambda: trt.Runtime(self._logger))
        workspace = workspace_mib(cuda.memory_bytes() >> 20)
        device = f"{board or 'GPU'}, compute capability {cuda.compute_capability}, {cuda.multiprocessors} multiprocessors"
        self._kind = EngineKind("package", self.version, setup.precision, workspace, device)
        self.details = dict(common_details(setup, workspace=workspace), **dict(cuda_facts(cuda)))
        self.details["cuda graph"] = "used"

    def open(self, operation: Operation) -> Run:
        """Build the engine, unless it is there from an earlier run; load it and run it once."""
        path = engine_path(operation, kind=self._kind, folder=self._folder)
        if not is_engine(path):
            write_engine_file(path, self._build(operation))
        self._forget()
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise self._refused(operation, "loading the engine", f"remove {path} and start again")
        buffers = self._buffers(operation, engine)
        loaded = LoadedEngine(operation, engine, context, buffers, self._enqueue(context, buffers))

        def enqueue() -> None:
            if not loaded.enqueue():
                raise self._refused(loaded.operation, "running", "is there memory left on the GPU?")

        self._cuda.elapsed_ms(enqueue)
        call = self._graph_of(operation, enqueue) or enqueue

        def run(calls: int) -> float:
            assert loaded  # engine and memory live as long as this function: a graph knows addresses only

            def all_calls() -> None:
                for _ in range(calls):
                    call()

            return self._cuda.elapsed_ms(all_calls) / calls

        run(1)
        return run

    def _graph_of(self, operation: Operation, enqueue: Callable[[], None]) -> Optional[Callable[[], None]]:
        """A call as a CUDA graph; None, which the record then says, where it cannot be captured."""
        try:
            return self._cuda.captured(enqueue)
        except WorkerError as error:
            self._without.add(operation.key)
            self.details["cuda graph"] = f"not used for all operations, so short ones may wait for the host: {error}"
            return None

    def _made(self, what: str, make: Callable[[], Any]) -> Any:
        """What a constructor of TensorRT makes.

        Without CUDA a constructor raises TypeError (its factory returned nullptr), or returns None, or an object that can do
        nothing; which of them, and at which severity the reason is logged, differs between versions.

        Raises:
            UnusablePackageError: In all three cases, with the reason that was logged.
        """
        self._forget()
        made, raised = None, ""
        try:
            made = make()
        except (TypeError, RuntimeError) as error:
            raised = str(error) or type(error).__name__
        if made is not None and not self._errors:
            return made
        _KEPT.append(made)
        said = self._errors[:1] or [one for one in self._warnings if "CUDA" in one][:1] or self._warnings[:1]
        reason = "; ".join(said + ([raised] if raised else [])) or "it gave no reason"
        raise UnusablePackageError(
            f"Python package tensorrt {self.version}: {what} cannot be made: {_one_line(reason)}; expected a driver new enough "
            "for this version, and CUDA libraries of one version"
        )

    def _forget(self) -> None:
        """Forget what was logged."""
        del self._errors[:], self._warnings[:]

    def _build(self, operation: Operation) -> bytes:
        trt = self._trt
        builder = self._made("Builder", lambda: trt.Builder(self._logger))
        creation = trt.NetworkDefinitionCreationFlag
        # Before 10 a network has a batch dimension of its own by default; 11 does not have the flag any more.
        flags = 1 << int(creation.EXPLICIT_BATCH) if hasattr(creation, "EXPLICIT_BATCH") else 0
        network = builder.create_network(flags)
        parser = self._made("OnnxParser", lambda: trt.OnnxParser(network, self._logger))
        if not parser.parse(read_onnx(operation)):
            errors = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
            self._errors[:0] = errors
            raise self._refused(operation, "reading the graph", "TensorRT does not know one of its operators")
        config = builder.create_builder_config()
        self._configure(config, network)
        has_cache = self._use_timing_cache(config)
        if hasattr(builder, "build_serialized_network"):
            plan = builder.build_serialized_network(network, config)
        else:  # 7.x
            engine = builder.build_engine(network, config)
            plan = None if engine is None else engine.serialize()
        if plan is None:
            raise self._refused(operation, "building", "is there memory left on the GPU?")
        if has_cache:
            cache = config.get_timing_cache()
            write_engine_file(timing_cache_path(kind=self._kind, folder=self._folder), bytes(cache.serialize()))
        return bytes(plan)

    def _configure(self, config: Any, network: Any) -> None:
        trt = self._trt
        num_bytes = self._kind.workspace_mib << 20
        if hasattr(config, "set_memory_pool_limit"):  # from 8.4 on
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, num_bytes)
        else:
            config.max_workspace_size = num_bytes
        if self._kind.precision in ("fp16", "int8"):
            config.set_flag(trt.BuilderFlag.FP16)
        if self._kind.precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
            _set_dummy_ranges(trt, network)

    def _use_timing_cache(self, config: Any) -> bool:
        if not hasattr(config, "create_timing_cache"):  # 7.x has none
            return False
        path = timing_cache_path(kind=self._kind, folder=self._folder)
        cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
        if cache is None or not config.set_timing_cache(cache, False):
            raise WorkerError(f"TensorRT: got a timing cache of another device or version, {path}; remove it and start again")
        return True

    def _buffers(self, operation: Operation, engine: Any) -> List[EngineBuffer]:
        trt = self._trt
        found = []
        if hasattr(engine, "num_io_tensors"):  # from 8.5 on
            for name in [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]:
                is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
                found.append((name, engine.get_tensor_shape(name), engine.get_tensor_dtype(name), is_input))
        else:
            for i in range(engine.num_bindings):
                found.append((str(i), engine.get_binding_shape(i), engine.get_binding_dtype(i), engine.binding_is_input(i)))
        buffers = []
        for name, shape, dtype, is_input in found:
            num_bytes = int(dtype.itemsize)
            for size in shape:
                if int(size) < 1:
                    raise WorkerError(
                        f"{operation.key}: got an engine with the shape {tuple(shape)}, expected a graph of fixed shapes"
                    )
                num_bytes *= int(size)
            memory = self._cuda.allocate(num_bytes)
            if is_input:
                self._cuda.fill(memory, num_bytes)
            buffers.append(EngineBuffer(name, memory))
        return buffers

    def _enqueue(self, context: Any, buffers: List[EngineBuffer]) -> Callable[[], bool]:
        stream = self._cuda.stream
        if hasattr(context, "execute_async_v3"):  # from 8.5 on
            for buffer in buffers:
                context.set_tensor_address(buffer.name, buffer.memory.address)
            return lambda: bool(context.execute_async_v3(stream))
        addresses = [buffer.memory.address for buffer in buffers]
        return lambda: bool(context.execute_async_v2(addresses, stream))

    def _refused(self, operation: Operation, what: str, advice: str) -> WorkerError:
        words = self._errors[0] if self._errors else "TensorRT gave no reason"
        return WorkerError(f"{operation.key}: {what}: {_one_line(words)}; {advice}")


def _one_line(words: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]


def _collecting_logger(trt: Any, errors: List[str], warnings: List[str]) -> Any:
    """A logger that keeps errors and warnings, the first hundred of each, and prints nothing."""
    base: Any = trt.ILogger

    class CollectingLogger(base):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            kept = errors if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR) else None
            if severity == trt.ILogger.WARNING:
                kept = warnings
            if kept is not None and len(kept) < 100:
                kept.append(str(msg))

    return CollectingLogger()


def _set_dummy_ranges(trt: Any, network: Any) -> None:
    """Give each float tensor of a network a range, which int8 kernels need and which only the results depend on."""
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        tensors += [layer.get_output(j) for j in range(layer.num_outputs)]
    for tensor in tensors:
        if tensor.dtype in (trt.DataType.FLOAT, trt.DataType.HALF):
            tensor.dynamic_range = _DUMMY_RANGE
