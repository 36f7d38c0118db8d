"""Parts of a checkpoint are refused by name before any is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas.errors import CheckpointError, ConfigError
from nas.runs.state_checks import check_like, check_optimizer, check_scores, check_tensors, check_verb, checked_as

State = dict[str, Any]


def stepped(kind: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    parameters = network.parameters()
    optimizer = torch.optim.Adam(parameters) if kind == "adam" else torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    network(torch.ones(2, 1, 2, 2)).sum().backward()
    optimizer.step()
    return network, optimizer


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_state_of_an_optimiser_fits_itself_and_a_fresh_one(kind: str) -> None:
    _, optimizer = stepped(kind)
    check_optimizer(optimizer.state_dict(), optimizer, "o")
    check_optimizer(optimizer.state_dict(), stepped(kind)[1], "o")
    state = optimizer.state_dict()
    state["param_groups"][0].pop("foreach")  # of an older version of PyTorch
    check_optimizer(state, optimizer, "o")


CHANGES: dict[str, tuple[str, Callable[[State], object]]] = {
    "o: the part state is missing": ("adam", lambda s: s.pop("state")),
    "o.param_groups: got": ("adam", lambda s: s.update(param_groups=[])),
    "the part lr is missing": ("sgd", lambda s: s["param_groups"][0].pop("lr")),
    "lr: got nan": ("sgd", lambda s: s["param_groups"][0].update(lr=float("nan"))),
    "betas: got": ("adam", lambda s: s["param_groups"][0].update(betas=(0.9,))),
    "params: got": ("adam", lambda s: s["param_groups"][0].update(params=[0])),
    "amsgrad: got 'x'": ("adam", lambda s: s["param_groups"][0].update(amsgrad="x")),
    "got parameter 9 of 4": ("adam", lambda s: s["state"].update({9: {}})),
    r"o.state\[0\]: the part exp_avg is missing": ("adam", lambda s: s["state"][0].pop("exp_avg")),
    r"o.state\[0\]: the part step is missing": ("adam", lambda s: s["state"][0].pop("step")),
    "exp_avg_sq: got negative": ("adam", lambda s: s["state"][0]["exp_avg_sq"].sub_(9)),
    r"o.state\[1\]: the part momentum_buffer is missing": ("sgd", lambda s: s["state"][1].pop("momentum_buffer")),
    "momentum_buffer: got NaN or infinite": ("sgd", lambda s: s["state"][0]["momentum_buffer"].fill_(float("inf"))),
    "exp_avg: got NaN or infinite": ("adam", lambda s: s["state"][0]["exp_avg"].fill_(float("nan"))),
    r"momentum_buffer: got the shape \[3\]": ("sgd", lambda s: s["state"][1].update(momentum_buffer=torch.zeros(3))),
    "momentum_buffer: got 1, expected a tensor": ("sgd", lambda s: s["state"][1].update(momentum_buffer=1)),
}


@pytest.mark.parametrize("words", CHANGES)
def test_what_an_optimiser_lacks_is_named(words: str) -> None:
    kind, change = CHANGES[words]
    _, optimizer = stepped(kind)
    state = optimizer.state_dict()
    state["param_groups"] = [dict(group) for group in state["param_groups"]]
    change(state)
    with pytest.raises(ValueError, match=words):
        check_optimizer(state, optimizer, "o")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"0.bias": None}, r"missing \['0.bias'\]"),
        ({"more": torch.zeros(1)}, r"left over \['more'\]"),
        ({"0.bias": torch.zeros(3)}, r"n.0.bias: got the shape \[3\], expected \[2\]"),
        ({"0.bias": torch.zeros(2).half()}, "n.0.bias: got the type torch.float16, expected torch.float32"),
        ({"0.bias": [0.0, 0.0]}, "expected a tensor"),
        ({"0.bias": torch.tensor([0.0, float("nan")])}, "n.0.bias: got NaN or infinite values, expected finite ones"),
        ({"1.running_var": torch.tensor([1.0, float("inf")])}, "n.1.running_var: got NaN or infinite values"),
        ({"1.running_var": -torch.ones(2)}, "n.1.running_var: got negative variances"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: State, words: str) -> None:
    network, _ = stepped("sgd")
    found = {name: value for name, value in {**network.state_dict(), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=words):
        check_tensors(found, network.state_dict(), "n")


def test_numbers_by_name() -> None:
    check_scores({"miou": 0.5}, "scores")
    check_like([{"value": 1.0}], [{"value": 2.0}], "c")
    check_verb({"verb": "train"}, "train")
    with pytest.raises(ValueError, match="scores: got 'miou'"):
        check_scores({"miou": [1]}, "scores")
    for wrong in (None, [], [{}], [{"value": "x"}]):
        with pytest.raises(ValueError, match="c"):
            check_like(wrong, [{"value": 2.0}], "c")
    with pytest.raises(ValueError, match=r"of nas a\\x1b, expected one of nas train"):
        check_verb({"verb": "a\x1b"}, "train")


@pytest.mark.parametrize("error", [KeyError("loop"), ValueError("a\nb"), TypeError("x"), ConfigError("c")])
def test_errors_about_the_content_name_the_file(error: Exception) -> None:
    with pytest.raises(CheckpointError, match="^last.pt: ") as caught, checked_as(Path("last.pt")):
        raise error
    assert "\n" not in str(caught.value)
