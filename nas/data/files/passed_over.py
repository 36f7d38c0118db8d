"""What lies among the files of a data set and is not used: counted and named, so that nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HIDDEN = "hidden"
OTHER_KIND = "with another ending"
BROKEN_LINK = "broken link"
REPEATED_FOLDER = "link to a folder above or already read"
DEEPER_FOLDER = "folder, where files were expected"
NO_CLASS = "file beside the folders of classes"
NO_FILE = "neither file nor folder"
COMMENT = "comment in a list"
REASONS = (OTHER_KIND, BROKEN_LINK, REPEATED_FOLDER, DEEPER_FOLDER, NO_CLASS, NO_FILE, COMMENT, HIDDEN)
"""Why something is passed over, in the order in which it is told."""
_KEPT = 3
"""Examples of each reason that are kept."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What was found and not taken.

    Args:
        counts: Reason, one of `REASONS` -> how many, at least one.
        examples: Reason -> the first of them by name.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, str]) -> PassedOver:
        """What was found, path or place -> reason."""
        by_reason = {reason: sorted(place for place in found if found[place] == reason) for reason in REASONS}
        return cls(
            {reason: len(places) for reason, places in by_reason.items() if places},
            {reason: tuple(places[:_KEPT]) for reason, places in by_reason.items() if places},
        )

    def __bool__(self) -> bool:
        """Whether anything was passed over."""
        return bool(self.counts)

    def text(self) -> str:
        """One line, empty where nothing was passed over.

        >>> PassedOver.of({"data/a.txt": OTHER_KIND, "data/b.txt": OTHER_KIND, "data/.cache": HIDDEN}).text()
        'passed over: 2 with another ending (data/a.txt, ...), 1 hidden (data/.cache)'
        """
        if not self.counts:
            return ""
        parts = [f"{count} {reason} ({_first(self.examples[reason], count)})" for reason, count in self.counts.items()]
        return f"passed over: {', '.join(parts)}"


def _first(examples: Iterable[str], count: int) -> str:
    """The first example on one line, whatever characters a name has."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in next(iter(examples)))
    return f"{shown}, ..." if count > 1 else shown


NOTHING = PassedOver()
"""Where nothing was passed over."""
