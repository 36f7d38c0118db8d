"""Knowledge distillation: how far the student's classes of pixels are from the teacher's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from nas.data.dataset import IGNORE_INDEX
from nas.distributed.ranks import ALONE, Ranks
from nas.losses.cross_entropy import weighted_mean


def distillation(  # noqa: PLR0913
    student_logits: Tensor,
    teacher_logits: Tensor,
    label: Tensor,
    *,
    temperature: float = 1.0,
    divide_by_classes: bool = False,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Knowledge distillation: the mean over the valid pixels of KL(p || q), p of the teacher and q of the student, both softened.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531. With p = softmax(teacher / T) and
    q = softmax(student / T) of a pixel,

        loss = T^2 * mean over valid pixels of sum_k p_k (ln p_k - ln q_k)

    The gradient with respect to the logits shrinks as 1 / T^2, which the factor makes good. The teacher gets no gradient. A batch
    without a valid pixel gives exactly 0 with zero gradients.

    The official code of FasterSeg (Chen et al., ICLR 2020, arXiv:1912.10917) takes the mean over classes too, which is K times
    smaller (`divide_by_classes`), and over ignored pixels. It takes the logarithm of a softmax, which may underflow. Here ignored
    pixels do not count.

    Args:
        student_logits: [N, K, H, W]; half precision is raised to float32.
        teacher_logits: [N, K, H, W].
        label: int64 [N, H, W]; 255 for pixels that do not count, the others alike.
        temperature: T, above 0.
        divide_by_classes: Divide by K.
        ranks: Processes that share a batch; each returns its part.

    Returns:
        Scalar.

    Raises:
        ValueError: If the logits are of two shapes.
    """
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{list(student_logits.shape)} of the student, {list(teacher_logits.shape)} of the teacher"
        raise ValueError(f"got logits {shapes}, expected one shape")
    student, teacher = _log_softmax(student_logits, temperature), _log_softmax(teacher_logits.detach(), temperature)
    divergences = (teacher.exp() * (teacher - student)).sum(dim=1)  # [N, H, W]
    mean = weighted_mean(divergences, label != IGNORE_INDEX, ranks)
    return mean * (temperature**2 / (student.shape[1] if divide_by_classes else 1))


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Logarithms of the softened probabilities, at least in float32."""
    return functional.log_softmax((logits.float() if logits.element_size() < 4 else logits) / temperature, dim=1)
