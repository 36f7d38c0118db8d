"""Runtime `tensorrt`: its Python package or its program, whichever is there."""

import ctypes
import os
from typing import Tuple

from nas.worker.cuda import LoadLibrary, load_cuda
from nas.worker.interface import Runtime, Setup, WorkerError
from nas.worker.tensorrt_package import TensorrtPackage, import_tensorrt
from nas.worker.trtexec import TRTEXEC_PLACES, TRTEXEC_VARIABLE, TrtexecRuntime, find_trtexec


def open_tensorrt(
    setup: Setup, *, load: LoadLibrary = ctypes.CDLL, places: Tuple[str, ...] = TRTEXEC_PLACES, root: str = "/"
) -> Runtime:
    """TensorRT as this device has it.

    The program that the environment variable SEGNAS_TRTEXEC names; else the Python package, where it and libcudart can be loaded;
    else trtexec on PATH or in one of the usual places.

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
        return TensorrtPackage(setup, trt=trt, cuda=cuda, root=root)
    program = find_trtexec(places=places)
    if program is None:
        raise WorkerError(
            f"runtime tensorrt: not found: {reason}; nor the program trtexec on PATH or at {', '.join(places)}; "
            f"on a Jetson: sudo apt install nvidia-jetpack; elsewhere: pip install tensorrt, or name trtexec with "
            f"{TRTEXEC_VARIABLE}=PATH"
        )
    return TrtexecRuntime(setup, program, root=root)
