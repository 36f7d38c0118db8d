"""What every listed backend must do."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

import pytest
import torch

import nas
from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.backends import BACKENDS
from nas.measuring.backends.module_runtime import ModuleRuntime
from nas.network.network import Network
from nas.ops import FREE_KINDS, OPERATIONS, OpSpec
from tests.contracts.test_op_contract import spec_of_kind
from tests.small_jobs import SIZE, random_genotype

COMPILES = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="needs a C++ compiler"),
]
"""A compiler takes seconds for each operation; test_torch_compile.py has what can be tested without one."""
EVERY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=COMPILES if name == "torch-compile" else []) for name in BACKENDS]
)
COMPILED_KINDS = ("conv_bn_relu", "grid_pool", "resize", "argmax")


def backend_of(name: str, **runtime: int | str) -> ModuleRuntime:
    return BACKENDS[name](RuntimeName(backend=name, **runtime), accelerator="cpu")


def conv(size: int, channels: int) -> OpSpec:
    return OpSpec(
        kind="conv_bn_relu",
        in_channels=channels,
        height=size,
        width=size,
        out_channels=channels,
        out_height=size,
        out_width=size,
        kernel=3,
    )


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_alone_is_a_runtime(name: str) -> None:
    runtime = RuntimeName.parse(name, backends=BACKENDS)
    backend = BACKENDS[name](runtime, accelerator="cpu")
    assert backend.runtime == runtime
    assert backend.version


@pytest.mark.parametrize("name", BACKENDS)
def test_what_cannot_be_measured_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=f"got precision 'fp16', but {name} measures fp32 only.*use {name}-fp32-b2-t1"):
        backend_of(name, precision="fp16", batch=2)
    with pytest.raises(ConfigError, match="got 'tpu', expected one of cpu, cuda"):
        BACKENDS[name](RuntimeName(backend=name), accelerator="tpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        BACKENDS[name](RuntimeName(backend=name), accelerator="cuda")


@EVERY
@pytest.mark.parametrize("batch", [1, 2])
def test_operation_50_times_larger_takes_longer_and_both_plausibly(name: str, batch: int) -> None:
    backend = backend_of(name, batch=batch)
    with backend.measuring():
        times = []
        for spec in (conv(4, 4), conv(56, 16)):
            run = backend.prepare(spec)
            run(2)
            times.append(min(run(3) for _ in range(5)))
    assert 1e-4 < times[0] < times[1] < 1000


@EVERY
def test_process_is_left_as_it_was(name: str) -> None:
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    backend = backend_of(name, threads=threads + 1)
    with backend.measuring():
        backend.prepare(conv(4, 4))(1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@EVERY
@pytest.mark.parametrize("kind", [kind for kind in OPERATIONS if kind not in FREE_KINDS])
def test_every_operation_is_timed_as_the_mean_of_calls_that_were_made(name: str, kind: str) -> None:
    if name == "torch-compile" and kind not in COMPILED_KINDS:
        pytest.skip("four kinds stand for all")
    backend, spec = backend_of(name), spec_of_kind(kind)
    with backend.measuring():
        backend.prepare(spec)(1)
        totals = {}
        for calls in (1, 100):
            samples = []
            for _ in range(3):
                run = backend.prepare(spec)
                start = time.perf_counter()
                mean = run(calls)
                assert 0 < mean * calls <= (time.perf_counter() - start) * 1e3
                assert math.isfinite(mean)
                samples.append(mean * calls)
            totals[calls] = min(samples)
    assert totals[1] < totals[100]


@EVERY
def test_networks_are_timed_and_left_as_they_were(name: str, tmp_path: Path) -> None:
    network = nas.build(random_genotype(tmp_path / "genotype.yaml"))
    assert isinstance(network, Network)
    before, random_state = {key: value.clone() for key, value in network.state_dict().items()}, torch.get_rng_state()
    first = next(node.spec for node in network.graph.nodes if node.role == "op")
    backend = backend_of(name, batch=2)
    with backend.measuring():
        run, one = backend.prepare_network(network, size=SIZE), backend.prepare(first)
        run(1), one(1)
        assert 0 < min(one(2) for _ in range(3)) < min(run(2) for _ in range(3)) < 10_000
    assert network.training
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@EVERY
def test_published_network_is_timed(name: str) -> None:
    network = nas.build(nas.load_genotype("squeezenas/lat_small"))
    assert isinstance(network, Network)
    backend = backend_of(name)
    with backend.measuring():
        run = backend.prepare_network(network, size=(64, 96))
        run(1)
        assert 0.05 < run(2) < 10_000
