"""Pictures as bytes: the same as Matplotlib and Pillow write to a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nas.reports.picture_bytes import figure_bytes, png_bytes


def test_a_figure_is_what_is_saved_to_a_file(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    figure.savefig(tmp_path / "a.png", dpi=50)
    assert figure_bytes(figure, dpi=50) == (tmp_path / "a.png").read_bytes()
    assert b"<svg" in figure_bytes(figure, dpi=50, file_format="svg")
    assert b"Software" not in figure_bytes(figure, dpi=50, metadata={"Software": None})


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_pixels_come_back(shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(pixels)))), pixels)
