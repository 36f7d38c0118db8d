"""Why the names of images and those of their masks do not match, where it can be told from the names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.files.command_words import setting


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Files by their names.

    Args:
        files: Name below the folder without the suffix -> file.
        folder: Folder of them.
        suffix: How a file's name goes on after that; empty: with any extension.
        setting: Setting of the suffix; None: it is fixed.
    """

    files: Mapping[str, Path]
    folder: Path
    suffix: str
    setting: str | None = None


_DIFFERENCES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("differs in capital letters: give both the same name", str.casefold),
    ("differs in leading zeros: give both the same name", lambda name: re.sub(r"(?<!\d)0+(?=\d)", "", name)),
    ("lies in another folder: put both at the same place", os.path.basename),
)
"""How names may differ that people take for the same, with what to do, and what removes the difference."""


def why_unmatched(images: NamedFiles, labels: NamedFiles, *, bare: Sequence[str], lonely: Sequence[str]) -> str | None:
    """What to do about images without labels, where the labels without images say it; None: they do not.

    Args:
        images: All images.
        labels: All labels.
        bare: Names of images without a label, at least one.
        lonely: Names of labels without an image.
    """
    for difference, same in _DIFFERENCES:
        left = {same(name): name for name in lonely}
        if same(bare[0]) in left:
            other = labels.files[left[same(bare[0])]]
            return f"{other} {difference}"
    ends = _ends(bare, lonely)
    if ends is None:
        longer = next((labels.files[name] for name in lonely if name.endswith(bare[0])), None)
        return f"if {longer} is its label, rename it: the two may differ in their ends alone" if longer else None
    image_end, label_end = ends
    image, label = images.files[bare[0]], labels.files[bare[0].removesuffix(image_end) + label_end]
    asked = [
        setting(files.setting, end + (files.suffix or path.suffix))
        for files, end, path in ((images, image_end, image), (labels, label_end, label))
        if end and files.setting
    ]
    return f"if {label} is its mask, set {' '.join(asked)}" if asked else f"if {label} is its label, rename it"


def _ends(bare: Sequence[str], lonely: Sequence[str]) -> tuple[str, str] | None:
    """Ends of the names of images and of labels after which the names are the same, for every image."""
    labels = set(lonely)
    for label in lonely:
        start = os.path.commonprefix([bare[0], label]).rstrip("_-. ")
        if not start or start.endswith("/"):
            continue
        image_end, label_end = bare[0][len(start) :], label[len(start) :]
        if all(name.endswith(image_end) and name.removesuffix(image_end) + label_end in labels for name in bare):
            return image_end, label_end
    return None


def shared_folder_suffixes(names: Iterable[str]) -> tuple[str, str] | None:
    """The likely suffixes of images and of masks that lie in one folder, from the names of its files.

    >>> shared_folder_suffixes(["a.jpg", "a_mask.png", "b.jpg", "b_mask.png", "_classes.csv"])
    ('.jpg', '_mask.png')
    """
    extension_of: dict[str, list[str]] = {}
    for name in names:
        extension_of.setdefault(Path(name).stem, []).append(Path(name).suffix)
    seen: Counter[tuple[str, str]] = Counter()
    for stem, extensions in extension_of.items():
        if len(extensions) == 2:
            first, second = sorted(extensions, key=lambda extension: extension.lower() == ".png")
            seen[first, second] += 1
        for cut in re.finditer(r"[-_. ]", stem):
            for extension in extension_of.get(stem[: cut.start()], []):
                seen[extension, stem[cut.start() :] + extensions[0]] += 1
    likely = seen.most_common(1)
    return likely[0][0] if likely and 4 * likely[0][1] >= len(extension_of) else None


def other_suffix(bare: Sequence[str], others: Sequence[str], lossy: Callable[[str], str | None]) -> str | None:
    """What to do about images without masks, where other files lie at the masks' place; None: there are no such.

    Args:
        bare: Names of images without a mask.
        others: Paths below the folder of masks of files that do not end as masks should.
        lossy: Format of such a file where it may change values; None: it keeps them.

    Raises:
        DataError: If the file cannot be read.
    """
    there = set(others)
    for path in others:
        end = path.removeprefix(bare[0])
        if end != path and all(name + end in there for name in bare):
            stored = lossy(path)
            if stored is not None:
                return f"{path} is {stored}, which may change values: export the masks as PNG from where they were made"
            return f"if {path} is its mask, set {setting('data.mask_suffix', end)}"
    return None
