"""Pictures of label maps: coloured, laid over the image, and side by side with the truth and the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nas.data.dataset import IGNORE_INDEX
from nas.files.atomic import write_bytes_atomic
from nas.reports.picture_bytes import png_bytes

Pixels = NDArray[np.uint8]
"""RGB picture [H, W, 3]."""
Labels = NDArray[np.integer]
"""Label map [H, W]: class id or 255 for void."""

PAPER = (250, 250, 250)
"""Colour behind titles and legend, and between panels."""
INK = (40, 40, 40)
"""Colour of text."""
WRONG = (230, 30, 60)
"""Colour of pixels with a wrong class."""
GAP_PX = 4
"""Space between panels."""
MIN_PANEL_PX, MAX_PANEL_PX = 320, 960
"""Panels narrower than the first are enlarged by a whole factor, those wider than the second reduced by one."""


def colour(label: Labels, palette: NDArray[np.uint8]) -> Pixels:
    """Draw each pixel in the colour of its class, void in black.

    Args:
        label: [H, W], class id or 255.
        palette: RGB colours [K, 3].

    Returns:
        [H, W, 3].

    Raises:
        ValueError: If a label is neither in 0..K-1 nor 255.
    """
    table = np.zeros((IGNORE_INDEX + 1, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    known = (label == IGNORE_INDEX) | ((label >= 0) & (label < len(palette)))
    if not known.all():
        unknown = np.unique(label[~known]).tolist()
        raise ValueError(f"label: got the class ids {unknown}, expected 0 to {len(palette) - 1}, or {IGNORE_INDEX} for void")
    table[IGNORE_INDEX] = 0
    coloured: Pixels = table[label]
    return coloured


def overlay(image: Pixels, label: Labels, palette: NDArray[np.uint8], alpha: float = 0.5) -> Pixels:
    """Lay the classes' colours over an image: (1 - alpha) * image + alpha * colour; void leaves the image as it is.

    Args:
        image: [H, W, 3].
        label: [H, W], class id or 255.
        palette: RGB colours [K, 3].
        alpha: Opacity of the colours, in [0, 1].

    Returns:
        [H, W, 3].

    Raises:
        ValueError: If sizes differ or a label is unknown.
    """
    _check_sizes(image, label)
    mixed = np.rint((1 - alpha) * image + alpha * colour(label, palette)).astype(np.uint8)
    return np.where((label == IGNORE_INDEX)[..., None], image, mixed)


def errors(image: Pixels, truth: Labels, prediction: Labels) -> Pixels:
    """The image in pale grey, pixels with a wrong class in red, void in dark grey: [H, W, 3]."""
    grey = image.mean(axis=2, keepdims=True) * 0.45 + 120
    picture: NDArray[np.float64] = np.repeat(grey, 3, axis=2)
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    picture[wrong] = 0.25 * picture[wrong] + 0.75 * np.array(WRONG)
    picture[truth == IGNORE_INDEX] *= 0.4
    return np.rint(picture).astype(np.uint8)


def comparison(
    image: Pixels,
    truth: Labels | None,
    prediction: Labels,
    palette: NDArray[np.uint8],
    *,
    class_names: Sequence[str] | None = None,
) -> Pixels:
    """Panels side by side under their titles, above a legend of the classes.

    With truth: image, truth, prediction, errors. Without: image, prediction, and the prediction laid over the image.

    Args:
        image: [H, W, 3].
        truth: [H, W], class id or 255; None if it is not known.
        prediction: [H, W], class id.
        palette: RGB colours [K, 3].
        class_names: K names for the legend; None: the class ids.

    Returns:
        RGB picture; its size follows from the panels'.

    Raises:
        ValueError: If sizes differ, a label is unknown or the names are not K.
    """
    names = [str(index) for index in range(len(palette))] if class_names is None else list(class_names)
    if len(names) != len(palette):
        raise ValueError(f"class_names: got {len(names)}, expected {len(palette)}, one for each colour of the palette")
    _check_sizes(image, prediction)
    panels = {"image": image}
    if truth is None:
        panels["prediction"] = colour(prediction, palette)
        panels["overlay"] = overlay(image, prediction, palette)
    else:
        _check_sizes(image, truth)
        panels["truth"] = colour(truth, palette)
        panels["prediction"] = colour(prediction, palette)
        panels[_error_title(truth, prediction)] = errors(image, truth, prediction)
    row = _side_by_side([_titled(title, _fitted(panel)) for title, panel in panels.items()])
    swatches = dict(zip(names, map(tuple, palette.tolist()), strict=True))
    if truth is not None:
        swatches |= {"void": (0, 0, 0), "wrong": WRONG}
    return np.concatenate([row, _legend(swatches, width=row.shape[1])], axis=0)


def save_png(path: Path, picture: Pixels) -> None:
    """Write a picture [H, W, 3], or a map of ids [H, W], as PNG; the folder is made."""
    write_bytes_atomic(path, png_bytes(picture), durable=False)


def _error_title(truth: Labels, prediction: Labels) -> str:
    valid = truth != IGNORE_INDEX
    if not valid.any():
        return "errors"
    return f"errors: {np.mean(prediction[valid] != truth[valid]):.1%} of the pixels"


def _fitted(panel: Pixels) -> Pixels:
    """A panel enlarged or reduced by a whole factor, so that titles suit it."""
    height, width, _ = panel.shape
    enlarge, reduce = -(-MIN_PANEL_PX // width), -(-width // MAX_PANEL_PX)
    if enlarge > 1:
        return panel.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
    if reduce > 1:
        return np.asarray(Image.fromarray(panel).reduce(reduce), dtype=np.uint8)
    return panel


def _titled(title: str, panel: Pixels) -> Pixels:
    font_px = _font_px(panel.shape[1])
    strip = Image.new("RGB", (panel.shape[1], round(font_px * 1.7)), PAPER)
    position = (2, round(font_px * 0.85))
    ImageDraw.Draw(strip).text(position, title, fill=INK, font=ImageFont.load_default(font_px), anchor="lm")
    return np.concatenate([np.asarray(strip), panel], axis=0)


def _side_by_side(panels: Sequence[Pixels]) -> Pixels:
    separator = np.full((panels[0].shape[0], GAP_PX, 3), PAPER, dtype=np.uint8)
    parts = [part for panel in panels for part in (separator, panel)]
    return np.concatenate([*parts, separator], axis=1)


def _legend(swatches: Mapping[str, tuple[int, ...]], *, width: int) -> Pixels:
    """A strip of the given width with a swatch and a name for each colour, in as many lines as it takes."""
    font_px = _font_px(MIN_PANEL_PX)
    font = ImageFont.load_default(font_px)
    swatch, line = font_px, round(font_px * 1.8)
    cells: list[tuple[int, int]] = []
    x, y = 2 * GAP_PX, 0
    for name in swatches:
        cell = swatch + 6 + round(font.getlength(name)) + 18
        if x + cell > width and x > 2 * GAP_PX:
            x, y = 2 * GAP_PX, y + line
        cells.append((x, y))
        x += cell
    strip = Image.new("RGB", (width, y + line + GAP_PX), PAPER)
    draw = ImageDraw.Draw(strip)
    for (left, top), (name, fill) in zip(cells, swatches.items(), strict=True):
        middle = top + GAP_PX + line // 2
        box = (left, middle - swatch // 2, left + swatch, middle + swatch // 2)
        draw.rectangle(box, fill=fill, outline=INK)
        draw.text((left + swatch + 6, middle), name, fill=INK, font=font, anchor="lm")
    return np.asarray(strip)


def _font_px(width: int) -> int:
    """Size of text that suits a panel of the given width."""
    return max(14, round(width / 26))


def _check_sizes(image: Pixels, label: Labels) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != label.shape:
        raise ValueError(f"got an image {list(image.shape)} and a label {list(label.shape)}, expected [H, W, 3] and [H, W]")
