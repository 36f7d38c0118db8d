"""Figures and arrays as the content of picture files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_bytes(figure: Figure, *, dpi: int, file_format: str = "png", metadata: Mapping[str, Any] | None = None) -> bytes:
    """A figure as the content of a file.

    Args:
        figure: The figure.
        dpi: Pixels an inch.
        file_format: `png` or `svg`.
        metadata: What the file says of itself, beside what Matplotlib writes; None as a value leaves an entry out.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format=file_format, metadata=metadata)
    return buffer.getvalue()


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A picture [H, W, 3], or a map of ids [H, W], as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
