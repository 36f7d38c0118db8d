"""Frames per second from a latency: the one place where they are computed and put into words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.cost.prediction import Latency
from nas.devices.runtime_name import RuntimeName

UNIT = "ms"
"""The one unit of a table that frames per second follow from."""


@dataclass(frozen=True, slots=True)
class FrameRate:
    """Images per second of a network that does nothing else.

    Args:
        fps: Images per second.
        low: What the largest latency of the error bar gives; None: there is no error bar.
        high: What the smallest one gives; None: there is no error bar, or it begins at 0 ms.
    """

    fps: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """With the interval, where there is one, e.g. `83.3 FPS (76.9 to 90.9)`."""
        return f"{in_words(self.fps)} FPS" + ("" if (bounds := self.bounds()) is None else f" ({bounds})")

    def bounds(self) -> str | None:
        """The interval in words; None: it is not known."""
        if self.low is None:
            return None
        return f"{in_words(self.low)} and more" if self.high is None else f"{in_words(self.low)} to {in_words(self.high)}"

    def as_json(self) -> dict[str, Any]:
        """The keys `fps`, `fps_low` and `fps_high` of a report."""
        return {"fps": self.fps, "fps_low": self.low, "fps_high": self.high}


def frames_per_second(ms: float, *, images: int = 1) -> float:
    """`images * 1000 / ms`.

    >>> frames_per_second(12.5), frames_per_second(12.5, images=2)
    (80.0, 160.0)

    Args:
        ms: What a call takes, above 0.
        images: Images of a call.
    """
    return images * 1000 / ms


def frame_rate(ms: float, low_ms: float | None = None, high_ms: float | None = None, *, images: int = 1) -> FrameRate | None:
    """Frames per second of a latency and its bounds in ms; None for a latency of 0, of which none follow."""
    fps, low, high = (None if one is None or one <= 0 else frames_per_second(one, images=images) for one in (ms, high_ms, low_ms))
    return None if fps is None else FrameRate(fps, low, high)


def frame_rate_on(latency: Latency, unit: str, table: str) -> FrameRate | None:
    """Frames per second of a prediction; None where the table holds no times.

    Args:
        latency: The prediction.
        unit: The unit of the table.
        table: The table's name DEVICE/RUNTIME, of which the runtime states how many images a call takes.
    """
    if unit != UNIT:
        return None
    return frame_rate(latency.ms, latency.low_ms, latency.high_ms, images=images_of_call(table))


def cost_in_words(latency: Latency, unit: str, table: str) -> str:
    """What a network costs by a table, with the error bar and the frames per second where these are known.

    >>> cost_in_words(Latency(12.5, None, None, {}), "ms", "some-board/tensorrt-fp16-b1-t1")
    '12.500 ms, 80 FPS on some-board/tensorrt-fp16-b1-t1'
    """
    bar = "" if latency.high_ms is None or latency.ms <= 0 else f" +- {latency.high_ms / latency.ms - 1:.1%}"
    rate = frame_rate_on(latency, unit, table)
    return f"{latency.ms:.3f} {unit}{bar}{'' if rate is None else f', {rate}'} on {table}"


def images_of_call(table: str) -> int:
    """Images at once by the name of a table; 1 where that states none.

    >>> images_of_call("some-board/torch-eager-fp32-b4-t1"), images_of_call("published/gtx1080ti")
    (4, 1)
    """
    runtime = RuntimeName.from_full(table.rpartition("/")[2])
    return 1 if runtime is None else runtime.batch


def in_words(fps: float) -> str:
    """A number of frames per second: four digits, or all before the decimal point.

    >>> in_words(12345.6), in_words(200.0), in_words(9.87654)
    ('12346', '200', '9.877')
    """
    return f"{fps:.0f}" if fps >= 1000 else f"{fps:.4g}"
