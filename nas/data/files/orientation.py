"""Whether an image and its mask are turned upright as the EXIF tag Orientation says, or taken as stored: one rule for all splits.

Cameras store pixels as the sensor has them and state how to turn them. Viewers and labelling tools do so, and so are images here
turned upright. A mask has no such tag. It belongs to the upright image where its size is that of the upright image alone.
"""

from __future__ import annotations

from pathlib import Path

from nas.data.files.image_header import ImageHeader
from nas.errors import ConfigError, DataError

EXIF_RULES = ("upright", "stored")
"""Values of data.exif, beside null."""


def check_exif_rule(exif: str | None) -> None:
    """Refuse an unknown value of data.exif.

    Raises:
        ConfigError: If it is neither null nor one of `EXIF_RULES`.
    """
    if exif is not None and exif not in EXIF_RULES:
        raise ConfigError(f"data.exif: got {exif}, expected {' or '.join(EXIF_RULES)}, or null to decide by the size of the masks")


def is_upright(exif: str | None) -> bool:
    """Whether pixels are turned upright by the rule."""
    return exif != "stored"


def check_turned(image: tuple[Path, ImageHeader], label: tuple[Path, ImageHeader]) -> None:
    """Make sure that a mask was drawn on the upright image, where no setting says so.

    Args:
        image: An image file and its header.
        label: Its mask and the header of that.

    Raises:
        DataError: If its size says otherwise or cannot tell, or the mask has a tag of its own.
    """
    (image_path, image_header), (label_path, label_header) = image, label
    stored, upright = image_header.stored, image_header.size(upright=True)
    if label_header.orientation != 1:
        found = f"{label_path}: the mask has the EXIF tag Orientation {label_header.orientation} of its own"
        raise DataError(f"{found} beside its image {image_path}, expected a mask without one; {_SETTING}")
    if image_header.orientation == 1 or label_header.stored not in (stored, upright):
        return
    found = f"{image_path}: the EXIF tag Orientation {image_header.orientation} turns the image, and its mask {label_path}"
    if stored == upright:
        raise DataError(f"{found} has a size that fits both the turned image and the pixels as stored; {_SETTING}")
    if label_header.stored == stored:
        raise DataError(f"{found} has the size of the pixels as stored, expected that of the turned image; {_SETTING}")


_SETTING = (
    "set data.exif=stored to ignore the tags, if masks were drawn on the pixels as stored, or data.exif=upright to follow them,"
    " if masks were drawn on what a viewer shows"
)


def size_note(header: ImageHeader, exif: str | None) -> str:
    """What the rule did to an image whose size does not fit, in words; nothing where it has no tag."""
    if header.orientation == 1:
        return ""
    done = "turned by its" if is_upright(exif) else "as stored, data.exif=stored ignores its"
    return f" ({done} EXIF tag Orientation {header.orientation})"
