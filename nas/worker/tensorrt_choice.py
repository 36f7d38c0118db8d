"""Runtime `tensorrt`: its Python package or its program, whichever is there."""

import ctypes
import os
import re
from typing import Tuple

from nas.worker.cuda import LoadLibrary, load_cuda
from nas.worker.interface import Runtime, Setup, WorkerError
from nas.worker.tensorrt_package import TensorrtPackage, UnusablePackageError, import_tensorrt
from nas.worker.trtexec import TRTEXEC_PLACES, TRTEXEC_VARIABLE, TrtexecRuntime, find_trtexec

FELL_BACK = "measured by"
"""Name of the fact that trtexec measures because the Python package cannot."""


def open_tensorrt(
    setup: Setup, *, load: LoadLibrary = ctypes.CDLL, places: Tuple[str, ...] = TRTEXEC_PLACES, root: str = "/"
) -> Runtime:
    """TensorRT as this device has it.

    The program that the environment variable SEGNAS_TRTEXEC names; else the Python package, where it and libcudart can be loaded
    and set up; else trtexec on PATH or in one of the usual places, which the details then say.

    Args:
        setup: What it should run with.
        load: Loads a shared library.
        places: Where trtexec is looked for beside PATH.
        root: Prefix of the system's files.

    Raises:
        WorkerError: If none is there, or the one that is refuses the setup.
    """
    if os.environ.get(TRTEXEC_VARIABLE):
        program = find_trtexec(places=places)
        assert program is not None
        return TrtexecRuntime(setup, program, root=root)
    try:
        trt, cuda = import_tensorrt(), load_cuda(load)
    except WorkerError as error:
        reason = str(error)
    else:
        try:
            return TensorrtPackage(setup, trt=trt, cuda=cuda, root=root)
        except UnusablePackageError as error:  # what it refuses by itself, trtexec is not asked for
            reason = str(error)
    program = find_trtexec(places=places)
    if program is None:
        raise WorkerError(
            f"runtime tensorrt: cannot be used: {reason}; nor is there the program trtexec on PATH or at {', '.join(places)}; "
            f"on a Jetson: sudo apt install nvidia-jetpack; elsewhere: pip install 'tensorrt<11', or name trtexec with "
            f"{TRTEXEC_VARIABLE}=PATH"
        )
    runtime = TrtexecRuntime(setup, program, root=root)
    runtime.details[FELL_BACK] = f"trtexec instead of the Python package: {without_folders(reason)}"
    return runtime


def without_folders(text: str) -> str:
    """A text with the names of files alone: a table is published, and holds no folders of a home.

    >>> without_folders("tried /place/venv/lib/libcudart.so.12, libcudart.so: too old; see /usr/local/cuda")
    'tried libcudart.so.12, libcudart.so: too old; see /usr/local/cuda'
    """
    return re.sub(r"(?<![^\s('\"])/(?!usr/)[^\s,;:]*/([^\s,;:/]+)", r"\1", text)
