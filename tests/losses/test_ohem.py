"""OHEM against a loop that sorts the pixels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.losses import cross_entropy, ohem


def batch(seed: int, *, scale: float, void_share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that favour the truth the more, the larger the scale."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (2, 8, 9), generator=generator)
    truth = torch.nn.functional.one_hot(label, 3).movedim(-1, 1)
    logits = scale * truth + torch.randn(2, 3, 8, 9, generator=generator, dtype=torch.float64)
    label[torch.rand(label.shape, generator=generator) < void_share] = 255
    return logits, label


def probabilities_of_truth(logits: torch.Tensor, label: torch.Tensor) -> NDArray[np.float64]:
    """Softmax probability of the true class of each valid pixel, pixel by pixel."""
    found = []
    for n, row, column in np.ndindex(*label.shape):
        truth = int(label[n, row, column])
        if truth != 255:
            scores = np.exp(logits[n, :, row, column].detach().numpy())
            found.append(scores[truth] / scores.sum())
    return np.array(found)


def slow_ohem(logits: torch.Tensor, label: torch.Tensor, *, threshold: float, min_kept: int) -> float:
    found = np.sort(probabilities_of_truth(logits, label))
    if len(found) <= min_kept:
        kept = found
    else:
        bound = max(threshold, found[min_kept - 1])
        kept = np.array([p for p in found if p <= bound])
    return float(np.mean(-np.log(kept)))


@pytest.mark.parametrize("scale", [0.0, 2.0, 8.0])
@pytest.mark.parametrize("void_share", [0.0, 0.3, 0.95])
@pytest.mark.parametrize(("threshold", "share"), [(0.7, 1 / 16), (0.3, 0.25), (0.9, 0.0), (0.7, 1.0)])
def test_ohem_equals_a_loop(scale: float, void_share: float, threshold: float, share: float) -> None:
    logits, label = batch(0, scale=scale, void_share=void_share)
    want = slow_ohem(logits, label, threshold=threshold, min_kept=max(1, int(share * label.numel())))
    got = ohem(logits, label, threshold=threshold, min_kept_share=share)
    assert float(got) == pytest.approx(want, rel=1e-9)


def kept_pixels(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The pixels that get a gradient."""
    leaf = logits.clone().requires_grad_()
    ohem(leaf, label).backward()
    assert leaf.grad is not None
    return leaf.grad.abs().sum(dim=1) > 0


def test_defaults_keep_the_pixels_at_or_below_seven_tenths_when_there_are_many() -> None:
    logits, label = batch(1, scale=1.0, void_share=0.2)
    found = probabilities_of_truth(logits, label)
    assert (found <= 0.7).sum() > label.numel() // 16
    assert kept_pixels(logits, label)[label != 255].tolist() == (found <= 0.7).tolist()


def test_defaults_keep_a_sixteenth_of_the_batch_when_all_is_easy() -> None:
    logits, label = batch(2, scale=9.0, void_share=0.2)
    found = probabilities_of_truth(logits, label)
    assert (found <= 0.7).sum() < label.numel() // 16
    kept = kept_pixels(logits, label)[label != 255].numpy()
    assert kept.sum() == label.numel() // 16
    assert found[kept].max() < found[~kept].min()


def test_all_valid_pixels_are_kept_when_fewer_than_the_minimum_are_valid() -> None:
    logits, label = batch(3, scale=9.0, void_share=0.0)
    label.flatten()[5:] = 255
    assert torch.equal(kept_pixels(logits, label), label != 255)
    torch.testing.assert_close(ohem(logits, label), cross_entropy(logits, label))


def test_threshold_one_is_plain_cross_entropy() -> None:
    logits, label = batch(4, scale=2.0, void_share=0.3)
    torch.testing.assert_close(ohem(logits, label, threshold=1.0), cross_entropy(logits, label))


def test_the_whole_batch_competes_not_each_image() -> None:
    logits, label = batch(5, scale=2.0, void_share=0.0)
    logits[0] += 30 * torch.nn.functional.one_hot(label[0], 3).movedim(-1, 0)
    kept = kept_pixels(logits, label)
    assert not kept[0].any()
    assert kept[1].any()


def test_weights_do_not_choose_the_pixels_but_weigh_those_kept() -> None:
    logits, label = batch(6, scale=1.0, void_share=0.2)
    weights = torch.tensor([0.5, 1.0, 9.0])
    leaf = logits.clone().requires_grad_()
    loss = ohem(leaf, label, weights=weights)
    loss.backward()
    kept = kept_pixels(logits, label)
    assert torch.equal(leaf.grad.abs().sum(dim=1) > 0, kept)
    found = torch.from_numpy(np.asarray(probabilities_of_truth(logits, label)))
    chosen, truth = found[kept[label != 255]].double(), label[kept]
    expected = (weights[truth].double() * -chosen.log()).sum() / weights[truth].double().sum()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
