"""The few calls of the CUDA runtime that timing needs, through ctypes: memory, one stream, events, graphs.

Tested against a fake library with a simulated clock; not yet run on hardware.
"""

import array
import ctypes
import ctypes.util
import os
import random
import sys
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from nas.worker.interface import WorkerError

LoadLibrary = Callable[[str], Any]
"""Loads a shared library by name or path; raises OSError where it cannot be loaded."""

_CUDART_PATTERNS = (
    "usr/local/cuda/lib64/libcudart.so*",
    "usr/local/cuda/targets/*/lib/libcudart.so*",
    "usr/local/cuda-*/lib64/libcudart.so*",
    "usr/local/cuda-*/targets/*/lib/libcudart.so*",
    "usr/lib/aarch64-linux-gnu/libcudart.so*",
    "usr/lib/x86_64-linux-gnu/libcudart.so*",
)
_CUDART_IN_PACKAGES = ("nvidia/cuda_runtime/lib/libcudart.so*", "nvidia/cu*/lib/libcudart.so*")
_HOST_TO_DEVICE = 1
_CAPTURE_THIS_THREAD = 1  # cudaStreamCaptureModeThreadLocal
_MULTIPROCESSORS, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 75, 76  # of enum cudaDeviceAttr
_PATTERN_FLOATS = 1 << 16


def cudart_places() -> List[str]:
    """Candidate paths of the CUDA runtime: what the linker knows, JetPack's and the toolkit's folders, NVIDIA's Python packages.

    Of several names of one file the first counts.
    """
    known = ctypes.util.find_library("cudart")
    found = [known] if known is not None else []
    for pattern in _CUDART_PATTERNS:
        found += sorted(str(path) for path in Path("/").glob(pattern))
    for folder in [Path(text) for text in sys.path if text and Path(text).is_dir()]:
        for pattern in _CUDART_IN_PACKAGES:
            found += sorted(str(path) for path in folder.glob(pattern))
    files: Dict[str, str] = {}
    for place in found:
        files.setdefault(os.path.realpath(place) if os.sep in place else place, place)
    return list(files.values())


def load_cuda(load: LoadLibrary = ctypes.CDLL, *, places: Optional[List[str]] = None) -> "Cuda":
    """The CUDA runtime, from the first place where it loads and works.

    A library that is newer than the driver, or finds no GPU, is passed over: another one may fit.

    Args:
        load: Loads a library.
        places: Names and paths to try; by default `cudart_places()`.

    Raises:
        WorkerError: If none works; all that were tried are named, with their reasons.
    """
    reasons: Dict[str, List[str]] = {}
    for place in cudart_places() if places is None else places:
        try:
            return Cuda(load(place))
        except (OSError, AttributeError) as error:  # the second: a function is missing
            reason = f"cannot be loaded: {(str(error).splitlines() or ['?'])[0]}"
        except CudaError as error:
            reason = error.reason
        reasons.setdefault(reason, []).append(place)
    if not reasons:
        raise WorkerError(
            "CUDA runtime: libcudart was found nowhere; expected it known to the linker or under /usr/local/cuda; "
            "install the CUDA toolkit or set LD_LIBRARY_PATH"
        )
    tried = "; ".join(f"{', '.join(places)}: {reason}" for reason, places in reasons.items())
    raise WorkerError(
        f"CUDA runtime: no libcudart works here, tried {tried}; expected one that the driver supports; is there a free GPU and a "
        "driver new enough? A fitting libcudart may be named by LD_LIBRARY_PATH"
    )


class CudaError(WorkerError):
    """A call of the CUDA runtime that failed.

    Args:
        name: The function.
        words: What the runtime says of the status.
        status: The status.
    """

    def __init__(self, name: str, words: str, status: int) -> None:
        self.reason = f"{name} failed: {words} ({status})"
        super().__init__(f"CUDA runtime: {self.reason}; expected success; is the GPU free and its driver new enough?")


class DeviceMemory:
    """Bytes on the GPU, freed when the object goes.

    Args:
        address: Where they are.
        free: Frees them.
    """

    def __init__(self, address: int, free: Callable[[int], None]) -> None:
        self.address = address
        self._finalizer = weakref.finalize(self, free, address)
        self._finalizer.atexit = False  # at the end of the process the driver frees all


class Cuda:
    """The CUDA runtime of the first GPU, with one stream and two events.

    Args:
        library: libcudart as ctypes loads it.

    Raises:
        WorkerError: If a call fails, as all of them do where there is no GPU or its driver is too old.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        library.cudaGetErrorString.restype = ctypes.c_char_p
        self.runtime_version = self._version("cudaRuntimeGetVersion")
        self.driver_version = self._version("cudaDriverGetVersion")
        self.compute_capability = f"{self._attribute(_CAPABILITY_MAJOR)}.{self._attribute(_CAPABILITY_MINOR)}"
        self.multiprocessors = self._attribute(_MULTIPROCESSORS)
        self._stream = self._handle("cudaStreamCreate")
        self._start, self._stop = self._handle("cudaEventCreate"), self._handle("cudaEventCreate")

    @property
    def stream(self) -> int:
        """Handle of the stream on which work should be enqueued."""
        return self._stream.value or 0

    def memory_bytes(self) -> int:
        """All memory of the GPU; on a Jetson that of the board."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return int(total.value)

    def allocate(self, num_bytes: int) -> DeviceMemory:
        """Memory with zeros in it; one byte at least, since an address of nothing is refused."""
        address = ctypes.c_void_p()
        size = ctypes.c_size_t(max(num_bytes, 1))
        self._call("cudaMalloc", ctypes.byref(address), size)
        memory = DeviceMemory(address.value or 0, self._free)
        self._call("cudaMemset", ctypes.c_void_p(memory.address), ctypes.c_int(0), size)
        return memory

    def fill(self, memory: DeviceMemory, num_bytes: int) -> None:
        """Write float32 values of [-1, 1), the same in each run: on zeros a GPU needs less power, hence clocks higher."""
        draw = random.Random(0)  # noqa: S311  not for secrets
        count = min(_PATTERN_FLOATS, num_bytes // 4)
        pattern = array.array("f", [draw.uniform(-1.0, 1.0) for _ in range(count)]).tobytes()
        for start in range(0, num_bytes if pattern else 0, max(len(pattern), 1)):
            size = min(len(pattern), num_bytes - start)
            self._call(
                "cudaMemcpy",
                ctypes.c_void_p(memory.address + start),
                ctypes.c_char_p(pattern),
                ctypes.c_size_t(size),
                ctypes.c_int(_HOST_TO_DEVICE),
            )

    def synchronize(self) -> None:
        """Wait for everything on the stream."""
        self._call("cudaStreamSynchronize", self._stream)

    def elapsed_ms(self, work: Callable[[], None]) -> float:
        """Time on the GPU from before to after what `work` enqueues on the stream, by events, in ms."""
        self._call("cudaEventRecord", self._start, self._stream)
        work()
        self._call("cudaEventRecord", self._stop, self._stream)
        self.synchronize()
        elapsed = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), self._start, self._stop)
        return float(elapsed.value)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """The work that `work` enqueues on the stream, as a CUDA graph: one call launches all of it.

        Args:
            work: Was run before, so that it allocates nothing any more.

        Returns:
            Launches the graph.

        Raises:
            WorkerError: If it cannot be captured.
        """
        self._call("cudaStreamBeginCapture", self._stream, ctypes.c_int(_CAPTURE_THIS_THREAD))
        graph, status = ctypes.c_void_p(), 0
        try:
            work()
        finally:
            status = int(self._library.cudaStreamEndCapture(self._stream, ctypes.byref(graph)))
        if status != 0 or not graph.value:
            self._library.cudaGetLastError()  # a capture that failed is no error of what comes next
            raise WorkerError("CUDA runtime: the calls cannot be captured in a graph")
        launchable = ctypes.c_void_p()
        # Up to CUDA 11 two places for messages and their size follow; from 12 on one number, the flags, which is 0 here as well.
        nothing = (ctypes.c_void_p(0), ctypes.c_void_p(0), ctypes.c_size_t(0))
        self._call("cudaGraphInstantiate", ctypes.byref(launchable), graph, *nothing)
        return lambda: self._call("cudaGraphLaunch", launchable, self._stream)

    def _handle(self, name: str) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call(name, ctypes.byref(handle))
        return handle

    def _version(self, name: str) -> str:
        number = ctypes.c_int()
        self._call(name, ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), ctypes.c_int(0))
        return int(value.value)

    def _free(self, address: int) -> None:
        self._library.cudaFree(ctypes.c_void_p(address))  # its status: nobody is left to hear it, and the GPU's errors come again

    def _call(self, name: str, *arguments: Any) -> None:
        status = int(getattr(self._library, name)(*arguments))
        if status != 0:
            text = self._library.cudaGetErrorString(ctypes.c_int(status))
            words = text.decode("utf-8", "replace") if text else "unknown error"
            raise CudaError(name, words, status)


def cuda_facts(cuda: Cuda) -> Tuple[Tuple[str, str], ...]:
    """Facts for the record, name and text."""
    return (
        ("cuda", cuda.runtime_version),
        ("cuda of the driver", cuda.driver_version),
        ("compute capability", cuda.compute_capability),
        ("multiprocessors", str(cuda.multiprocessors)),
    )
