"""The worker's writer of files: whole or not at all."""

import os

from nas.worker.interface import WorkerError


def write_whole(path: str, content: bytes, *, remedy: str) -> None:
    """Write a file under a temporary name, force it to the disk and rename it, so that there is never a part of one.

    Args:
        path: The file.
        content: Its content.
        remedy: What to do where it cannot be written; ends the message.

    Raises:
        WorkerError: If it cannot be written.
    """
    temporary = f"{path}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WorkerError(f"{path}: cannot be written ({error.strerror}); {remedy}") from error
