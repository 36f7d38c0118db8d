"""A user's own pictures without labels: one image, a folder of images, or the frames of a video, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.files.decode import check_image, read_image
from nas.data.files.file_walk import find_files
from nas.data.files.pairs import IMAGE_SUFFIXES, by_key
from nas.data.files.passed_over import NOTHING, PassedOver
from nas.data.files.scan import scan_frames
from nas.errors import ConfigError, DataError
from nas.files.native_output import without_native_output

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
"""Files that are taken for videos."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, or one frame of a video.

    Args:
        name: Path below the folder given, without suffix; for a frame, the video's name and the frame's number.
        source: File it comes from.
        image: RGB pixels [H, W, 3].
    """

    name: str
    source: Path
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images by their names, and what lies among them and is no image."""

    files: dict[str, Path]
    passed_over: PassedOver = NOTHING
    upright: bool = True

    def __iter__(self) -> Iterator[Picture]:
        """The images in the order of their names."""
        return (Picture(name, path, read_image(path, upright=self.upright)) for name, path in sorted(self.files.items()))


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """Frames 0, n, 2n, ... of a video.

    Args:
        path: The file.
        every: n.
        passed_over: Nothing: a video is given by itself.
    """

    path: Path
    every: int
    passed_over: PassedOver = NOTHING

    def __iter__(self) -> Iterator[Picture]:
        """The frames in order."""
        video = _opened(self.path)
        try:
            number = 0
            while video.grab():
                if number % self.every == 0:
                    whole, frame = video.retrieve()
                    if not whole:
                        raise DataError(f"{self.path}: frame {number} cannot be decoded, expected a whole video; convert it again")
                    image = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
                    yield Picture(f"{self.path.stem}_{number:06d}", self.path, image)
                number += 1
        finally:
            video.release()


Pictures = ImageFiles | VideoFrames
"""Source of pictures; iterating reads them one by one."""


def find_pictures(path: Path, every_frame: int = 1, *, upright: bool = True) -> Pictures:
    """The pictures of a file or a folder, checked to be there and whole.

    Args:
        path: An image, a video, or a folder in which and below which images lie.
        every_frame: Which frames of a video to take: every n-th.
        upright: Turn images as their EXIF orientation says; else take them as stored. Frames of videos are turned.

    Raises:
        ConfigError: If frames are to be left out of what is no video.
        DataError: If there is no picture, or one cannot be read.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
        if next(iter(VideoFrames(path, 1)), None) is None:
            raise DataError(f"{path}: no frame in it that can be decoded, expected a video; convert it again")
        return VideoFrames(path, every_frame)
    if every_frame != 1:
        kinds = ", ".join(VIDEO_SUFFIXES)
        raise ConfigError(f"every_frame: got {every_frame}, but images={path} is no video ({kinds}); leave every_frame away")
    files, passed = _image_files(path)
    paths = list(files.values())
    scan_frames(lambda index: check_image(paths[index]), len(paths))
    return ImageFiles(files, passed, upright=upright)


def _image_files(path: Path) -> tuple[dict[str, Path], PassedOver]:
    """The image files by name, and what lies among them."""
    kinds = ", ".join(IMAGE_SUFFIXES)
    if path.is_file():
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise DataError(f"{path}: got a file {path.suffix or 'without extension'}, expected an image ({kinds}) or a video")
        return {path.stem: path}, NOTHING
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; set images= to an image, a folder of images, or a video")
    found = find_files(path, IMAGE_SUFFIXES, deep=True)
    if not found.files:
        videos = find_files(path, VIDEO_SUFFIXES, deep=True).files
        hint = f"; give a video by itself, e.g. images={videos[0]}" if videos else "; set images= to another folder"
        raise DataError(f"{path}: no image in it, expected files {kinds}{hint}")
    files = by_key(found.files, lambda file: file.relative_to(path).with_suffix("").as_posix())
    return files, PassedOver.of(found.passed)


def _opened(path: Path) -> cv2.VideoCapture:
    """A video that can be read."""
    with without_native_output(2):  # OpenCV reads the environment variable for that only while it is loaded
        video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise DataError(f"{path}: unreadable or truncated, expected a video that OpenCV can decode; convert or copy it again")
    return video
