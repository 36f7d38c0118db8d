"""What every listed backend must do."""

from __future__ import annotations

import pytest
import torch

from nas.devices import BACKENDS, RuntimeName
from nas.ops import FREE_KINDS, OPERATIONS, OpSpec

EVERY = pytest.mark.parametrize("name", BACKENDS)


def spec_of(kind: str, size: int, channels: int) -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=channels,
        height=size,
        width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel=3,
    )


@EVERY
def test_backend_alone_is_a_runtime(name: str) -> None:
    runtime = RuntimeName.parse(name, backends=BACKENDS)
    backend = BACKENDS[name](runtime, accelerator="cpu")
    assert backend.runtime == runtime
    assert backend.version


@EVERY
@pytest.mark.parametrize("batch", [1, 2])
def test_operation_50_times_larger_takes_longer_and_both_plausibly(name: str, batch: int) -> None:
    backend = BACKENDS[name](RuntimeName(backend=name, batch=batch), accelerator="cpu")
    small, large = spec_of("conv_bn_relu", 4, 4), spec_of("conv_bn_relu", 56, 16)
    with backend.measuring():
        times = []
        for spec in (small, large):
            run = backend.prepare(spec)
            run(2)
            times.append(min(run(3) for _ in range(5)))
    assert 1e-4 < times[0] < times[1] < 1000


@EVERY
def test_process_is_left_as_it_was(name: str) -> None:
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    backend = BACKENDS[name](RuntimeName(backend=name, threads=threads + 1), accelerator="cpu")
    with backend.measuring():
        backend.prepare(spec_of("conv_bn_relu", 4, 4))(1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@EVERY
@pytest.mark.parametrize("kind", [kind for kind in OPERATIONS if kind not in FREE_KINDS])
def test_every_operation_can_be_measured_again_and_again(name: str, kind: str) -> None:
    spec = SPECS.get(kind, spec_of(kind, 6, 8))
    backend = BACKENDS[name](RuntimeName(backend=name), accelerator="cpu")
    with backend.measuring():
        assert all(backend.prepare(spec)(calls) > 0 for calls in (1, 2, 1))


SPECS = {
    "factorized_reduce": OpSpec(
        kind="factorized_reduce",
        in_channels=8,
        height=7,
        width=5,
        out_channels=12,
        out_height=4,
        out_width=3,
        stride=2,
    ),
    "concat": OpSpec(kind="concat", in_channels=8, height=6, width=6, out_channels=20, out_height=6, out_width=6, groups=3),
    "argmax": OpSpec(kind="argmax", in_channels=11, height=6, width=6, out_channels=1, out_height=6, out_width=6),
    "resize": OpSpec(kind="resize", in_channels=8, height=6, width=6, out_channels=8, out_height=13, out_width=11),
    "transposed_conv": OpSpec(
        kind="transposed_conv",
        in_channels=8,
        height=6,
        width=6,
        out_channels=4,
        out_height=11,
        out_width=12,
        kernel=4,
        stride=2,
    ),
}
"""Operations that are not made by `spec_of`."""
