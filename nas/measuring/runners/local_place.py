"""A folder on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nas.devices.user_folders import user_folder
from nas.errors import ConfigError
from nas.files.atomic import write_bytes_atomic
from nas.measuring.runners.place import OnLine

LAST_LINES = 20


def cache_folder() -> Path:
    """`segnas` in the user's cache folder.

    Raises:
        ConfigError: If the user has none.
    """
    folder = user_folder("XDG_CACHE_HOME", ".cache")
    if folder is None:
        raise ConfigError("HOME is unset and this user has no home folder, where the worker has its own; set XDG_CACHE_HOME to one")
    return folder / "segnas"


class LocalPlace:
    """A folder below the user's cache folder; a `Place`.

    Args:
        name: The folder's name.
        base: Where it lies; None: `segnas` in the user's cache folder.
    """

    def __init__(self, name: str, *, base: Path | None = None) -> None:
        self._folder = (base or cache_folder()) / name
        self._stderr: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._folder)

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines that the last program wrote to standard error."""
        return self._stderr

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, in place of the one of that name.

        Raises:
            ConfigError: If it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_bytes_atomic(self._folder / name, content)
        except OSError as error:
            raise ConfigError(
                f"{self._folder}: {len(content):,} bytes cannot be written there ({error.strerror}); make room, or set "
                "XDG_CACHE_HOME to another folder"
            ) from error

    def get(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def run(self, arguments: Sequence[str], *, on_line: OnLine) -> int:
        """Run `python -I ARGUMENTS` in the folder and wait for its end; whatever `on_line` raises stops it.

        Returns:
            Its exit status; below 0: minus the number of the signal that ended it.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
            )
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    on_line(line.rstrip("\n"))
                return process.wait()
            finally:
                process.terminate()
                process.wait()
                process.stdout.close()
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - 10_000))
                self._stderr = tuple(errors.read().decode(errors="replace").splitlines()[-LAST_LINES:])

    def remove(self) -> None:
        """Delete the folder and what is in it; nothing happens if there is none."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def close(self) -> None:
        """Nothing is held open."""
