"""The archive of a job's graphs, each of which must be the one that the job states."""

import contextlib
import hashlib
import os
import struct
import zipfile
import zlib
from typing import Callable, Dict, Iterator, Mapping, NamedTuple, Optional

from nas.worker.interface import Operation, WorkerError
from nas.worker.plain_json import one_line, open_regular
from nas.worker.whole_file import open_own

GRAPHS_FILE = "graphs.zip"
UNPACKED = "graph"
"""Name, before its suffix, of the file of the one graph that is unpacked."""
CHUNK_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
ARCHIVE_DEFECTS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
)
"""What `zipfile` raises for archives that are none, beside `OSError`."""


class StatedGraph(NamedTuple):
    """A graph as a job states it.

    Fields:
        sha256: SHA-256 of its bytes, in hexadecimal digits.
        size: Number of its bytes. Whatever an archive holds, no more are read.
    """

    sha256: str
    size: int


class Graphs:
    """The archive of graphs, unpacked one at a time: all of them may be larger than the disk.

    A graph is one file: weights outside of it (ONNX's external data) do not exist, for a runtime gets nothing but these bytes.

    Args:
        folder: Where the archive lies.
        stated: Name of each graph of the job -> what it must be.

    Raises:
        WorkerError: If the archive is not there or broken.
    """

    def __init__(self, folder: str, stated: Mapping[str, StatedGraph]) -> None:
        self._folder, self._stated = folder, stated
        self._path = os.path.join(folder, GRAPHS_FILE)
        try:
            self._archive = zipfile.ZipFile(open_regular(self._path))
            names = self._archive.namelist()
        except (OSError, *ARCHIVE_DEFECTS) as error:
            raise WorkerError(
                f"{self._path}: got no archive of graphs ({one_line(error)}); unpack the whole bundle again"
            ) from error
        if len(set(names)) < len(names):
            raise WorkerError(f"{self._path}: got an archive with a name twice; unpack the whole bundle again")

    def check(self) -> Dict[str, str]:
        """SHA-256 of each graph by its name, read now.

        Raises:
            WorkerError: If one is missing, broken, or another one than the job states.
        """
        return {name: self._read(name, _nowhere) for name in self._stated}

    def unpack(self, operation: Operation) -> Operation:
        """The operation with the path of its graph, in a file that `remove` deletes; raises `WorkerError` as `check`."""
        path = os.path.join(self._folder, UNPACKED + os.path.splitext(operation.path)[1])
        whole = operation._replace(path=path)
        try:
            with os.fdopen(open_own(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                self._read(operation.path, file.write)
        except OSError as error:
            self.remove(whole)
            raise WorkerError(f"{path}: cannot be written ({error.strerror}); make room in {self._folder}") from error
        except BaseException:
            self.remove(whole)
            raise
        return whole

    def remove(self, operation: Operation) -> None:
        """Delete the file of an unpacked operation."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.remove(operation.path)

    def _read(self, name: str, write: Callable[[bytes], object]) -> str:
        """SHA-256 of a graph, all of which is written as it is read; one that is not as the job states is refused."""
        stated, digest = self._stated[name], hashlib.sha256()
        for chunk in self._chunks(name, stated.size):
            digest.update(chunk)
            write(chunk)
        found = digest.hexdigest()
        if found != stated.sha256:
            raise self._other(name, f"has the SHA-256 {found[:12]}...", f"{stated.sha256[:12]}...")
        return found

    def _chunks(self, name: str, size: int) -> Iterator[bytes]:
        """The bytes of a graph, never more than the job states."""
        try:
            info = self._archive.getinfo(name)
            if info.file_size != size:
                raise self._other(name, f"has {info.file_size:,} bytes", f"{size:,}")
            if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
                raise ValueError("packed in a way that no bundle is")
            with self._archive.open(info) as packed:
                chunk = packed.read(CHUNK_BYTES)
                while chunk:
                    yield chunk
                    chunk = packed.read(CHUNK_BYTES)
        except KeyError as error:
            raise WorkerError(f"{self._path}: {name} is missing; unpack the whole bundle again") from error
        except (OSError, *ARCHIVE_DEFECTS) as error:
            raise WorkerError(f"{self._path}: {name} is broken ({one_line(error)}); unpack the whole bundle again") from error

    def _other(self, name: str, found: str, expected: str) -> WorkerError:
        return WorkerError(
            f"{self._path}: {name} {found}, expected {expected} as the job states, so another operation would be measured; "
            "unpack the whole bundle again, in an empty folder"
        )


def archive_digest(folder: str) -> Optional[str]:
    """SHA-256 of the archive in a folder; None where there is none that can be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(os.path.join(folder, GRAPHS_FILE)) as file:
            chunk = file.read(CHUNK_BYTES)
            while chunk:
                digest.update(chunk)
                chunk = file.read(CHUNK_BYTES)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def _nowhere(chunk: bytes) -> None:
    """Takes what only its hash is wanted of."""
