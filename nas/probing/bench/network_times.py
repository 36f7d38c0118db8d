"""What networks that were timed side by side took, and what was known of them before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.cost.frame_rate import frames_per_second
from nas.measuring.journal import Conditions
from nas.measuring.runners.runner import Observed
from nas.probing.bench.accuracies import Accuracy
from nas.probing.bench.benched_networks import BenchedNetwork
from nas.probing.bench.network_predictions import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedNetwork:
    """A network that was timed.

    Args:
        network: The network, at its size.
        samples_ms: What a call took, in ms; each is the mean of the calls of a sample.
        statistic: What of them counts: `median` or `mean`.
        batch: Images a call.
        prediction: What a table says of it.
        slowdown: Of the block; None: not known.
        accuracy: Its mIoU; None: not known.
    """

    network: BenchedNetwork
    samples_ms: tuple[float, ...]
    statistic: str
    batch: int
    prediction: Prediction
    slowdown: float | None
    accuracy: Accuracy | None

    @property
    def ms(self) -> float:
        """What counts."""
        return self.mean_ms if self.statistic == "mean" else self.median_ms

    @property
    def median_ms(self) -> float:
        """Median of the samples."""
        return float(np.median(self.samples_ms))

    @property
    def mean_ms(self) -> float:
        """Mean of the samples."""
        return float(np.mean(self.samples_ms))

    @property
    def p10_ms(self) -> float | None:
        """A tenth of the samples is below it; None: there is one sample."""
        return None if len(self.samples_ms) < 2 else float(np.percentile(self.samples_ms, 10))

    @property
    def p90_ms(self) -> float | None:
        """A tenth of the samples is above it; None: there is one sample."""
        return None if len(self.samples_ms) < 2 else float(np.percentile(self.samples_ms, 90))

    @property
    def fps(self) -> float:
        """Images a second."""
        return frames_per_second(self.ms, images=self.batch)

    @property
    def prediction_error(self) -> float | None:
        """Prediction over measurement minus 1, at the table's level of speed where that is known; None: no prediction."""
        if self.prediction.ms is None:
            return None
        return self.prediction.ms * (self.slowdown or 1.0) / self.ms - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchBlock:
    """Networks of a size that one runtime ran side by side.

    Args:
        runtime: Full name of the runtime.
        size: (height, width) of the images in pixels.
        conditions: Device, runtime with its version, and protocol.
        observed: What was seen of the device meanwhile.
        reference: Key of the operation by which drift was taken out; None: it was not.
        reference_ms: What that took, in ms.
        table: Identifier of the table of the predictions; None: there is none.
        no_table: Why there is none.
        measured_with: Settings with which `nas profile` measures at that place, into the table that was given.
        slowdown: What the reference operation took, over what it took when the table was measured; None: not known.
        noise_floor: Mean share by which the medians of the two series of a network differ; None: there is one series.
        rows: The networks.
    """

    runtime: str
    size: tuple[int, int]
    conditions: Conditions
    observed: Observed
    reference: str | None
    reference_ms: float | None
    table: str | None
    no_table: str | None
    measured_with: tuple[str, ...]
    slowdown: float | None
    noise_floor: float | None
    rows: Sequence[TimedNetwork]
