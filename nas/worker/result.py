"""The result of the worker: `result.json`, with a checksum over everything in it."""

import hashlib
import json
import os
from typing import Any, Dict

from nas.worker.whole_file import write_whole

RESULT_FILE = "result.json"
MAX_RESULT_BYTES = 16 * 2**20
"""A larger file is no result: that of the largest space has 2 MB."""
RESULT_VERSION = 1
"""The version of the file that this code writes and reads."""


def checksum(fields: Dict[str, Any]) -> str:
    """SHA-256 of a result without its own checksum, as plain data in one spelling."""
    rest = {name: value for name, value in fields.items() if name != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def save_result(fields: Dict[str, Any], folder: str) -> str:
    """Write a result, whole or not at all; returns its path.

    Raises:
        WorkerError: If there is no room.
    """
    path = os.path.join(folder, RESULT_FILE)
    content = json.dumps(dict(fields, checksum=checksum(fields)), allow_nan=False).encode("ascii")
    write_whole(path, content, remedy="make room, then run the same again: no measurement is lost")
    return path
