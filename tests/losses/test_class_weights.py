"""Class weights from counts."""

import math

import pytest
import torch

from nas.losses.class_weights import inverse_log_share


def test_weights_are_one_over_the_log_of_the_shifted_share() -> None:
    counts = [0, 1, 50, 949]
    weights = inverse_log_share(torch.tensor(counts)).tolist()
    assert weights == [pytest.approx(1 / math.log(1.02 + count / 1000), rel=1e-6) for count in counts]
    assert weights == sorted(weights, reverse=True)


def test_weights_stay_between_their_bounds() -> None:
    weights = inverse_log_share(torch.tensor([0, 10**12]))
    assert weights.dtype == torch.float32
    assert weights.tolist() == [pytest.approx(1 / math.log(1.02), rel=1e-5), pytest.approx(1 / math.log(2.02), rel=1e-5)]


def test_shares_alone_matter() -> None:
    torch.testing.assert_close(inverse_log_share(torch.tensor([3, 9])), inverse_log_share(torch.tensor([100, 300])))


def test_nothing_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="without a label"):
        inverse_log_share(torch.zeros(3))
