"""The packages that ONNX files need beside the package's own dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from nas.errors import ConfigError

PACKAGES = ("onnx", "onnxruntime")


def require_packages() -> None:
    """Refuse to go on without them.

    Raises:
        ConfigError: With the command that installs them.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(f"needs {' and '.join(missing)}, which {_are(missing)} not installed: pip install 'segnas[export]'")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
