"""The held-out share of a training split, on which a bi-level search updates the architecture, and its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from nas.data.batches.loader import WHOLE, BatchPart, epoch_order, steps_per_epoch, train_loader
from nas.data.dataset import Frame, SegmentationDataset, check_index
from nas.data.scan_facts import ScanFacts
from nas.errors import ConfigError, NonFiniteLossError


class HeldOutLossError(NonFiniteLossError):
    """A loss on a held-out batch is not finite.

    Args:
        message: What was got.
        images: Names of the images of the batch.
    """

    def __init__(self, message: str, images: Sequence[str]) -> None:
        super().__init__(message)
        self.images = tuple(images)


class Part(SegmentationDataset):
    """Some of the images of a data set.

    Args:
        whole: The data set.
        indices: Which of its images, in which order.
    """

    def __init__(self, whole: SegmentationDataset, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, tuple(indices)
        self.classes, self.palette, self.split = whole.classes, whole.palette, whole.split
        self.passed_over, self.classes_file, self.ids = whole.passed_over, whole.classes_file, whole.ids

    def __len__(self) -> int:
        """Number of images of the part."""
        return len(self.indices)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as of the whole."""
        return self.whole.size

    def name(self, index: int) -> str:
        """Name of an image of the part, as in the whole."""
        return self.whole.name(self._index(index))

    def load(self, index: int) -> Frame:
        """Image and label of the part."""
        return self.whole.load(self._index(index))

    def scan(self) -> ScanFacts:
        """Check the whole data set; the facts are those of the part."""
        return self.whole.scan().part(self.indices)

    def _index(self, index: int) -> int:
        check_index(index, len(self))
        return self.indices[index]


def hold_out(dataset: SegmentationDataset, *, share: float, seed: int) -> tuple[Part, Part]:
    """Split a data set in two parts without a common image; a function of the number of images, share and seed alone.

    Args:
        dataset: The data set.
        share: Share of its images to hold out, above 0 and below 1; at least one image is held out and one is left.
        seed: Seed of the permutation whose first images are held out.

    Returns:
        What is left, and what is held out.

    Raises:
        ConfigError: If there are fewer than two images.
    """
    count = len(dataset)
    if count < 2:
        raise ConfigError(f"search.holdout: got {count} training image, expected at least 2; search with search.level=single")
    held = min(count - 1, max(1, round(share * count)))
    order = np.random.default_rng(np.random.SeedSequence([seed], spawn_key=(1,))).permutation(count)
    return Part(dataset, sorted(order[held:].tolist())), Part(dataset, sorted(order[:held].tolist()))


class HeldOutBatches:
    """Batches without end of a held-out part: batch k is a function of seed and k, so that a run can go on anywhere.

    Every `steps_per_epoch` of the part begins a new order of its images, as in training. The noise of the augmentation is not
    that of the training batches.

    Args:
        part: The images.
        batch_size: Images a batch.
        crop: Height and width of the crop.
        seed: Seed of the run.
        workers: Worker processes; 0: prepare in this process.
        of_batch: What of each batch is loaded.
    """

    def __init__(  # noqa: PLR0913
        self,
        part: SegmentationDataset,
        *,
        batch_size: int,
        crop: Sequence[int],
        seed: int,
        workers: int,
        of_batch: BatchPart = WHOLE,
    ) -> None:
        self.of_batch = of_batch
        self.part, self.batch_size, self.crop, self.workers = part, batch_size, tuple(crop), workers
        self.seed = int(np.random.SeedSequence([seed], spawn_key=(2,)).generate_state(1)[0])
        self.per_epoch = steps_per_epoch(len(part), batch_size)
        self._next = -1
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images [N, 3, H, W] and labels [N, H, W] of the batch of this number, from 0; reading on in order is cheap."""
        epoch, first = divmod(number, self.per_epoch)
        if number != self._next or first == 0:
            self._batches = iter(
                train_loader(
                    self.part,
                    batch_size=self.batch_size,
                    crop=self.crop,
                    seed=self.seed,
                    epoch=epoch,
                    start_batch=first,
                    workers=self.workers,
                    part=self.of_batch,
                )
            )
        self._next = number + 1
        return next(self._batches)

    def names(self, number: int) -> list[str]:
        """Names of the images of a batch."""
        epoch, batch = divmod(number, self.per_epoch)
        order = np.resize(epoch_order(len(self.part), seed=self.seed, epoch=epoch), self.per_epoch * self.batch_size)
        return [self.part.name(int(index)) for index in order[batch * self.batch_size :][: self.batch_size]]
