"""The CUDA runtime through ctypes, against a library in C with the real signatures: 64-bit pointers and sizes arrive whole."""

from __future__ import annotations

import ctypes
import gc
import shutil
import struct
import subprocess

import pytest

from nas.worker.cuda import Cuda, cudart_places, load_cuda
from nas.worker.interface import WorkerError
from tests.worker.fake_cuda import FakeCuda

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
typedef void* handle;
static double now_ms = 0;
static long allocated = 0;
int cudaRuntimeGetVersion(int* v) { *v = 10020; return 0; }
int cudaDriverGetVersion(int* v) { *v = 11040; return 0; }
int cudaDeviceGetAttribute(int* v, int attribute, int device) {
    if (device != 0) return 1;
    *v = attribute == 16 ? 1 : attribute == 75 ? 5 : attribute == 76 ? 3 : -1;
    return 0;
}
int cudaStreamCreate(handle* s) { *s = malloc(8); return 0; }
int cudaEventCreate(handle* e) { *e = calloc(1, sizeof(double)); return 0; }
int cudaEventRecord(handle e, handle s) { *(double*)e = now_ms; *(char*)s = 1; return 0; }
int cudaEventElapsedTime(float* ms, handle a, handle b) { *ms = (float)(*(double*)b - *(double*)a); return 0; }
int cudaStreamSynchronize(handle s) { *(char*)s = 2; return 0; }
int cudaMemGetInfo(size_t* f, size_t* t) { *f = (size_t)5 << 32; *t = (size_t)6 << 32; return 0; }
int cudaMalloc(handle* p, size_t n) { if (n >> 33) return 2; *p = malloc(n); allocated++; return 0; }
int cudaFree(handle p) { free(p); allocated--; return 0; }
int cudaMemset(handle p, int v, size_t n) { memset(p, v, n); return 0; }
int cudaMemcpy(handle d, const void* s, size_t n, int kind) { if (kind != 1) return 1; memcpy(d, s, n); return 0; }
const char* cudaGetErrorString(int status) { return status == 2 ? "out of memory" : "invalid argument"; }
void kernel(double ms) { now_ms += ms; }
long count(void) { return allocated; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) on PATH")
    folder = tmp_path_factory.mktemp("cudart")
    (folder / "cudart.c").write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "libcudart.so.10.2", "cudart.c"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "libcudart.so.10.2"))
    library.kernel.argtypes = [ctypes.c_double]
    return library


def test_the_first_library_that_works_is_taken():
    good, newer = FakeCuda(), FakeCuda(failing="cudaDeviceGetAttribute")
    no_gpu = FakeCuda(failing="cudaStreamCreate", failing_status=100)
    libraries = {"newer than the driver": newer, "sees no GPU": no_gpu, "of another kind": object(), "good": good}

    def load(place: str) -> object:
        if place not in libraries:
            raise OSError(f"{place}: cannot open shared object file\nmore")
        return libraries[place]

    assert load_cuda(load, places=["absent", *libraries]).compute_capability == "8.7"
    with pytest.raises(WorkerError) as caught:
        load_cuda(load, places=["absent", "newer than the driver", "the same", "sees no GPU", "of another kind"])
    assert "\n" not in str(caught.value)
    for words in (
        "tried absent: cannot be loaded: absent: cannot open shared object file; newer than the driver: cudaDeviceGetAttribute",
        "failed: CUDA driver version is insufficient for CUDA runtime version (35); ",
        "sees no GPU: cudaStreamCreate failed: no CUDA-capable device is detected (100); ",
        "of another kind: cannot be loaded: 'object' object has no attribute 'cudaGetErrorString'; expected one that the driver",
    ):
        assert words in str(caught.value)


def test_places_of_one_reason_are_named_together():
    with pytest.raises(WorkerError, match=r"tried a, b: cudaDriverGetVersion failed: CUDA driver .* \(35\); expected one"):
        load_cuda(lambda place: FakeCuda(failing="cudaDriverGetVersion"), places=["a", "b"])
    with pytest.raises(WorkerError, match="libcudart was found nowhere; expected"):
        load_cuda(places=[])


def test_a_file_of_several_names_is_one_place(tmp_path, monkeypatch):
    folder = tmp_path / "nvidia/cuda_runtime/lib"
    folder.mkdir(parents=True)
    (folder / "libcudart.so.12.9").touch()
    (folder / "libcudart.so.12").symlink_to("libcudart.so.12.9")
    monkeypatch.setattr("sys.path", [str(tmp_path), ""])
    assert [place for place in cudart_places() if place.startswith(str(tmp_path))] == [str(folder / "libcudart.so.12")]


def test_calls_arrive_in_c(library):
    cuda = load_cuda(places=["/nowhere/libcudart.so", library._name])
    assert (cuda.runtime_version, cuda.driver_version) == ("10.2", "11.4")
    assert (cuda.compute_capability, cuda.multiprocessors) == ("5.3", 1)
    assert cuda.memory_bytes() == 6 << 32
    assert cuda.stream > 0
    assert cuda.elapsed_ms(lambda: library.kernel(1.25)) == 1.25


def test_memory_is_written_and_freed_in_c(library):
    cuda = Cuda(library)
    before = library.count()
    memory = cuda.allocate(4 * 1000)
    assert ctypes.string_at(memory.address, 4000) == bytes(4000)
    cuda.fill(memory, 4000)
    values = struct.unpack("1000f", ctypes.string_at(memory.address, 4000))
    assert all(-1 <= value < 1 for value in values)
    assert len(set(values)) > 900
    assert library.count() == before + 1
    del memory
    gc.collect()
    assert library.count() == before
    with pytest.raises(WorkerError, match=r"cudaMalloc failed: out of memory \(2\)"):
        cuda.allocate(1 << 33)
