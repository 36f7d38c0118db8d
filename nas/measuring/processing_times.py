"""What a picture costs before and after the network: decoding, resizing, normalising, labels of logits, their resizing.

Each step runs the code that predictions for pictures run (`nas.network.predicted_ids`), on one thread of this machine's CPU.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.data.batches.transforms import normalised
from nas.data.files.decode import read_image
from nas.data.files.resize import resize_image, resize_label
from nas.data.street import draw_scene
from nas.devices.runtime_name import RuntimeName
from nas.files.atomic import write_bytes_atomic
from nas.measuring.backends.onnx_runtime import PACKAGES, OnnxRuntime
from nas.ops import OpSpec, out_size
from nas.ops.modules import predicted_labels
from nas.worker.drift import corrected_samples
from nas.worker.host_memory import keep_freed_memory
from nas.worker.interface import Run
from nas.worker.rounds import Log, Rounds, measure_rounds

JPEG, PNG = "decode JPEG", "decode PNG"
RESIZE, NORMALISE = "resize image", "normalise"
LABELS, INSIDE, RESIZE_LABELS = "argmax", "argmax in ONNX Runtime", "resize labels"
BEFORE = (JPEG, RESIZE, NORMALISE)
"""What a JPEG picture passes before the network."""
AFTER = (LABELS, RESIZE_LABELS)
"""What the logits of a network pass."""
JPEG_QUALITY = 95
LIBRARIES = {"Pillow": PIL.__version__, "OpenCV": cv2.__version__, "NumPy": np.__version__, "PyTorch": torch.__version__}
"""Library -> version."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """Time of one step.

    Args:
        step: Its name.
        what: What goes in and out, for people.
        median_ms: Median over the rounds.
        p10_ms: 10th percentile.
        p90_ms: 90th percentile.
    """

    step: str
    what: str
    median_ms: float
    p10_ms: float
    p90_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingTimes:
    """Times of all steps for pictures of one size and a network of one size.

    Args:
        image_size: (height, width) of the pictures in pixels.
        network_size: (height, width) of the network's images.
        num_classes: Classes of its logits.
        logits_stride: Sides of the network's images over those of its logits.
        rounds: Samples of each step.
        picture: The file that was decoded; None: a drawn scene.
        steps: The steps in their order. `argmax in ONNX Runtime` stands for `argmax` where the network gives labels, and is part of
            its time then; it is missing where ONNX Runtime is not installed.
        libraries: Library -> version.
    """

    image_size: tuple[int, int]
    network_size: tuple[int, int]
    num_classes: int
    logits_stride: int
    rounds: int
    picture: str | None
    steps: tuple[StepTime, ...]
    libraries: Mapping[str, str]

    @property
    def before_ms(self) -> float:
        """Sum of the medians before the network, from a JPEG picture on."""
        return sum(step.median_ms for step in self.steps if step.step in BEFORE)

    @property
    def after_ms(self) -> float:
        """Sum of the medians after a network that gives logits."""
        return sum(step.median_ms for step in self.steps if step.step in AFTER)

    @property
    def after_labels_ms(self) -> float:
        """Sum of the medians after a network that gives labels."""
        return sum(step.median_ms for step in self.steps if step.step == RESIZE_LABELS)

    def as_json(self) -> dict[str, Any]:
        """For reports."""
        return {**asdict(self), "libraries": dict(self.libraries), "before_ms": self.before_ms, "after_ms": self.after_ms}

    def summary(self) -> list[str]:
        """Human lines: each step, and the sums before and after the network."""
        image, network = ("x".join(map(str, size)) for size in (self.image_size, self.network_size))
        return [
            f"pictures of {image}, a network of {network}, {self.num_classes} classes; CPU of this machine, one thread:",
            *(f"  {s.step:<24}{s.median_ms:8.2f} ms ({s.p10_ms:.2f} to {s.p90_ms:.2f})  {s.what}" for s in self.steps),
            f"  before the network {self.before_ms:.2f} ms (from a JPEG picture)",
            f"  after a network of logits {self.after_ms:.2f} ms; "
            f"after one of labels, whose own time has the argmax, {self.after_labels_ms:.2f} ms",
        ]


def time_processing(  # noqa: PLR0913
    image_size: tuple[int, int] | None,
    network_size: tuple[int, int],
    num_classes: int,
    *,
    logits_stride: int = 1,
    picture: Path | None = None,
    rounds: int = 20,
) -> ProcessingTimes:
    """Time every step between a file and the network, and between its logits and labels of the picture's size.

    Samples are taken in interleaved rounds as those of operations are. Freed memory stays with the process from then on
    (`nas.worker.host_memory`), as when networks are timed in it.

    Args:
        image_size: (height, width) of the pictures in pixels; None: that of `picture`.
        network_size: (height, width) of the network's images.
        num_classes: Classes of the network.
        logits_stride: Sides of the network's images over those of its logits; 1: logits of full size, as those of our networks.
        picture: A picture to decode, resized to `image_size`; None: a drawn scene.
        rounds: Samples of each step.

    Raises:
        DataError: If the picture cannot be read.
        ValueError: If there is neither a size nor a picture.
    """
    image = _picture(image_size, picture)
    size = (image.shape[0], image.shape[1])
    keep_freed_memory()
    with TemporaryDirectory() as folder, _one_thread():
        steps = _steps(image, network_size, num_classes, logits_stride=logits_stride, folder=Path(folder))
        runs = {name: _timed(call) for name, (_, call) in steps.items()}
        inside = _argmax_inside(num_classes, _logits_size(network_size, logits_stride))
        if inside is not None:
            runs[INSIDE] = inside
        log = Log()
        measure_rounds(list(runs), None, runs.__getitem__, log=log, rounds=Rounds(rounds, rounds, ci=0.0))
    samples = corrected_samples(log.timings)
    labels = steps[LABELS][0]
    words = {**{name: what for name, (what, _) in steps.items()}, INSIDE: labels}
    order = [name for name in (JPEG, PNG, RESIZE, NORMALISE, LABELS, INSIDE, RESIZE_LABELS) if name in samples]
    return ProcessingTimes(
        image_size=size,
        network_size=network_size,
        num_classes=num_classes,
        logits_stride=logits_stride,
        rounds=rounds,
        picture=None if picture is None else str(picture),
        steps=tuple(_step_time(name, words[name], samples[name]) for name in order),
        libraries={**LIBRARIES, **({} if inside is None else {"ONNX Runtime": version("onnxruntime")})},
    )


def _steps(
    image: NDArray[np.uint8], network_size: tuple[int, int], num_classes: int, *, logits_stride: int, folder: Path
) -> dict[str, tuple[str, Callable[[], object]]]:
    """Step -> what goes in and out, and its call."""
    files = {JPEG: folder / "picture.jpg", PNG: folder / "picture.png"}
    for path in files.values():
        write_bytes_atomic(path, _encoded(image, path.suffix))
    size = (image.shape[0], image.shape[1])
    small, logits_size = resize_image(image, network_size), _logits_size(network_size, logits_stride)
    logits = torch.randn(1, num_classes, *logits_size, generator=torch.Generator().manual_seed(0))
    labels = predicted_labels(logits)[0].byte().numpy()
    picture, given, made = (_words(one) for one in (size, network_size, logits_size))
    decoded = {
        name: (f"{path.stat().st_size / 1e3:.0f} kB -> {picture}", lambda path=path: read_image(path))
        for name, path in files.items()
    }
    return {
        **decoded,
        RESIZE: (f"{picture} -> {given}", lambda: resize_image(image, network_size)),
        NORMALISE: (f"{given} uint8 -> float32 [1, 3, H, W]", lambda: normalised(small)[None]),
        LABELS: (f"{num_classes}x{made} -> 1x{made}", lambda: predicted_labels(logits)[0].byte().numpy()),
        RESIZE_LABELS: (f"{made} -> {picture}", lambda: resize_label(labels, size)),
    }


def _picture(size: tuple[int, int] | None, path: Path | None) -> NDArray[np.uint8]:
    """The picture [H, W, 3] that is decoded."""
    if path is not None:
        image = read_image(path)
        return image if size is None else resize_image(image, size)
    if size is None:
        raise ValueError("got neither a size nor a picture, expected one of the two")
    return draw_scene(np.random.default_rng(0), size)[0]


def _encoded(image: NDArray[np.uint8], suffix: str) -> bytes:
    """An image as the content of a file: a PNG, or a JPEG with colours at half the resolution, as cameras write it."""
    buffer = io.BytesIO()
    if suffix == ".png":
        Image.fromarray(image).save(buffer, format="PNG")
    else:
        Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def _logits_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return out_size(size[0], stride), out_size(size[1], stride)


def _argmax_inside(num_classes: int, size: tuple[int, int]) -> Run | None:
    """The same argmax as an operation of a network in ONNX Runtime; None where that is not installed."""
    if any(find_spec(name) is None for name in PACKAGES):
        return None
    height, width = size
    spec = OpSpec(
        kind="argmax", in_channels=num_classes, height=height, width=width, out_channels=1, out_height=height, out_width=width
    )
    return OnnxRuntime(RuntimeName(backend="onnxruntime")).prepare(spec)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for PyTorch and OpenCV, as before afterwards."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _timed(call: Callable[[], object]) -> Run:
    def run(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls * 1e3

    return run


def _step_time(step: str, what: str, samples: list[float]) -> StepTime:
    low, median, high = (float(value) for value in np.percentile(samples, (10, 50, 90)))
    return StepTime(step, what, median, low, high)


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
