"""The optimisation steps of a search, on one level and on two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from nas.data.batches.held_out import HeldOutBatches, HeldOutLossError
from nas.distributed.ranks import Ranks
from nas.errors import NonFiniteLossError
from nas.supernet.draw_plan import DrawPlan
from nas.supernet.optimizers import SupernetOptimisation, frozen
from nas.supernet.pass_gradients import PassGradients
from nas.supernet.step_scalars import in_words, summed
from nas.training.loop_state import Row
from nas.training.optimisation_step import Backward, Moved, optimisation_step

_HELD_OUT_NOISE = 2**31
"""Added to the step for the noise of held-out batches, which is so not that of training batches. PyTorch seeds with 32 bits."""


class OneLevel:
    """Weights and architecture follow the gradients of one loss on one batch (LGCNet, eq. 10).

    Args:
        gradients: Runs the passes.
        draws: What each step draws.
        optimisation: What moves weights and architecture.
    """

    def __init__(self, gradients: PassGradients, draws: DrawPlan, optimisation: SupernetOptimisation) -> None:
        self.gradients, self.draws, self.optimisation = gradients, draws, optimisation

    def take(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Move the weights, and after the warm-up the architecture.

        Raises:
            NonFiniteLossError: If the loss or a gradient is not finite; nothing was moved.
        """
        draws = self.draws.of_step(step)
        weights, architecture = self.optimisation.weights, self.optimisation.architecture
        moved = [weights, architecture if step >= self.draws.warmup_steps else architecture.resting()]
        run = partial(self.gradients.add_up, images, labels, draws, with_latency=True)
        row, confusion = _step(moved, run, self.gradients.ranks, with_latency=True)
        return {**row, "tau": draws[0].tau}, confusion


class TwoLevels:
    """The architecture follows a held-out batch, the weights a training batch (DARTS, section 2.3, first order).

    A step first moves the architecture with the weights fixed, then the weights with the architecture fixed. Only the
    architecture's loss has the latency term. The held-out images are gone through again whenever they are used up. Both passes
    count into the running statistics of the batch normalisations, as in DARTS.

    Args:
        gradients: Runs the passes.
        draws: What each step draws.
        optimisation: What moves weights and architecture.
        held_out: The held-out batches.
    """

    def __init__(
        self, gradients: PassGradients, draws: DrawPlan, optimisation: SupernetOptimisation, held_out: HeldOutBatches
    ) -> None:
        self.gradients, self.draws, self.optimisation, self.held_out = gradients, draws, optimisation, held_out

    def take(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Move the weights, and after the warm-up the architecture before them; both move or neither.

        Raises:
            NonFiniteLossError: If a loss or a gradient is not finite; neither was moved.
        """
        held_out_row: Row = {}
        before = None
        if step >= self.draws.warmup_steps:
            before = copy.deepcopy(self.optimisation.architecture_state())
            held_out_row = self._move_architecture(step, count=len(images))
        try:
            row, confusion = self._move_weights(images, labels, step)
        except (RuntimeError, MemoryError):  # a loss that is not finite, memory that ran out
            if before is not None:
                self.optimisation.load_architecture_state(before)
            raise
        return {**row, **held_out_row}, confusion

    def _move_architecture(self, step: int, *, count: int) -> Row:
        """One step of Adam on `count` held-out images, cross-entropy plus latency; the weights get no gradient."""
        number = step - self.draws.warmup_steps
        images, labels = (self.gradients.fabric.to_device(tensor[:count]) for tensor in self.held_out.batch(number))
        draws = self.draws.of_step(step, offset=_HELD_OUT_NOISE)

        def run() -> Backward:
            with frozen(self.optimisation.weights.parameters):
                return self.gradients.add_up(images, labels, draws, with_latency=True)

        try:
            row, _ = _step([self.optimisation.architecture], run, self.gradients.ranks, with_latency=True)
        except NonFiniteLossError as error:
            raise HeldOutLossError(str(error), self.held_out.names(number)) from None
        return {f"holdout_{key}": value for key, value in row.items()}

    def _move_weights(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """One step of SGD on a training batch, cross-entropy alone; the architecture gets no gradient."""
        draws = self.draws.of_step(step)

        def run() -> Backward:
            with frozen(self.optimisation.architecture.parameters):
                return self.gradients.add_up(images, labels, draws, with_latency=False)

        row, confusion = _step([self.optimisation.weights], run, self.gradients.ranks, with_latency=False)
        return {**row, "tau": draws[0].tau}, confusion


def _step(moved: Sequence[Moved], run: Callable[[], Backward], ranks: Ranks, *, with_latency: bool) -> tuple[Row, Tensor]:
    """An optimisation step; its scalars over all passes, and the confusion matrix."""
    rows, confusion = optimisation_step(moved, run, ranks=ranks, describe=partial(in_words, with_latency=with_latency))
    assert confusion is not None
    return summed(rows), confusion
