"""Eager PyTorch as a backend."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

import nas
from nas.devices.runtime_name import RuntimeName
from nas.measuring import example_operations
from nas.measuring.backends.torch_eager import TorchEager
from nas.network.network import Network
from nas.ops import OpSpec
from tests.small_jobs import random_genotype

RUNTIME = RuntimeName(backend="torch-eager")


def conv(size: int, channels: int = 16) -> OpSpec:
    return OpSpec(
        kind="relu_conv_bn",
        in_channels=channels,
        height=size,
        width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel=3,
    )


class Asleep(torch.nn.Module):
    """Takes a known time; remembers how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bool, bool, int, torch.Size]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append((self.training, torch.is_inference_mode_enabled(), torch.get_num_threads(), x.shape))
        time.sleep(0.004)
        return x


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Asleep:
    module = Asleep()
    monkeypatch.setattr(example_operations, "build", lambda spec: module)  # noqa: ARG005
    return module


def test_run_returns_the_mean_of_a_call_in_ms(asleep: Asleep) -> None:
    run = TorchEager(RUNTIME).prepare(conv(4))
    assert 4.0 <= min(run(5) for _ in range(3)) < 12.0
    assert len(asleep.calls) == 15


def test_operations_run_in_evaluation_and_inference_mode_with_batch_and_threads_of_the_runtime(asleep: Asleep) -> None:
    backend = TorchEager(RuntimeName(backend="torch-eager", batch=3, threads=2))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with backend.measuring():
            backend.prepare(conv(4))(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert asleep.calls == [(False, True, 2, torch.Size([3, 16, 4, 4]))]


def test_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with (
        pytest.raises(RuntimeError, match="stop"),
        TorchEager(RuntimeName(backend="torch-eager", threads=before + 1)).measuring(),
    ):
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before


def test_preparing_leaves_the_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    TorchEager(RUNTIME).prepare(conv(4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("keep_bytes", "builds"), [(10**9, 2), (0, 6)])
def test_operations_are_built_once_while_they_fit_and_anew_beyond(
    keep_bytes: int, builds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[OpSpec] = []
    build = example_operations.build
    monkeypatch.setattr(example_operations, "build", lambda spec: (built.append(spec), build(spec))[1])
    backend = TorchEager(RUNTIME, keep_bytes=keep_bytes)
    for _ in range(3):
        assert backend.prepare(conv(4))(1) > 0
        assert backend.prepare(conv(5))(1) > 0
    assert len(built) == builds


def test_inputs_of_one_shape_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Spy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.data_ptr())
            return x

    monkeypatch.setattr(example_operations, "build", lambda spec: Spy())  # noqa: ARG005
    backend = TorchEager(RUNTIME)
    dilated = OpSpec(**{**{name: getattr(conv(4), name) for name in OpSpec.__slots__}, "dilation": 2})
    for spec in (conv(4), dilated, conv(5)):
        backend.prepare(spec)(1)
    assert seen[0] == seen[1] != seen[2]


def test_network_runs_to_its_label_map_in_evaluation_and_inference_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nas.build(random_genotype(tmp_path / "genotype.yaml"))
    assert isinstance(network, Network)
    seen: list[tuple[bool, bool, torch.Size]] = []
    label_map = Network.label_map

    def spy(self: Network, images: torch.Tensor) -> torch.Tensor:
        seen.append((self.training, torch.is_inference_mode_enabled(), images.shape))
        return label_map(self, images)

    monkeypatch.setattr(Network, "label_map", spy)
    run = TorchEager(RuntimeName(backend="torch-eager", batch=2)).prepare_network(network, size=(33, 40))
    assert run(3) > 0
    assert seen == [(False, True, torch.Size([2, 3, 33, 40]))] * 3


@pytest.mark.gpu
def test_cuda_measures_a_larger_operation_as_slower() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    backend = TorchEager(RUNTIME, accelerator="cuda")
    small, large = (backend.prepare(conv(size, channels=128)) for size in (8, 512))
    small(3), large(3)
    assert 0 < small(10) < large(10)
