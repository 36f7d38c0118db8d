"""Stage `profile` from its settings: three tiny operations measured for real on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.config.measuring_jobs import ProfileJob
from nas.config.settings import DeploySettings
from nas.cost import LatencyTable, load_table
from nas.devices.this_machine import cpu_name
from nas.errors import ConfigError, TableError
from nas.measuring.backends.torch_eager import TorchEager
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.stages.profiling import profile
from tests.simulated_device import RUNTIME, conv


def job(**changes: Any) -> ProfileJob:
    return ProfileJob(**{"space": None, "deploy": DeploySettings(input=[16, 24], init_channels=4), "rounds": 2, **changes})


SMALL, MIDDLE, LARGE = conv(4, 4), conv(8, 16), conv(16, 64)


class ThreeOperations:
    """A space whose plan is three tiny operations; says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Deployment] = []

    def plan(self, deployment: Deployment) -> tuple[OpSpec, ...]:
        self.asked.append(deployment)
        return SMALL, MIDDLE, LARGE


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A space in a working folder."""
    monkeypatch.chdir(tmp_path)
    return ThreeOperations()


def test_profile_measures_the_deployed_shape_for_real_into_a_table_named_after_this_machine(space: Any) -> None:
    result = profile(job(num_classes=7, rounds=3), space)
    assert space.asked == [Deployment((16, 24), 4, 7)]
    assert result.path == Path("latency_tables") / cpu_name() / "torch-eager-fp32-b1-t1.json"
    table: LatencyTable = load_table("auto/torch-eager")
    assert table == result.table
    assert 1e-4 < table.cost(SMALL) < table.cost(LARGE) < 1000
    assert table.runtime.version == TorchEager(RUNTIME).version


def test_profile_writes_where_and_under_the_name_it_is_told(space: Any) -> None:
    result = profile(job(device="bench", out="deep/mine.json", runtime="torch-eager-fp32-b2-t1"), space)
    assert load_table("deep/mine.json").identifier == "bench/torch-eager-fp32-b2-t1"
    assert result.summary()[-1] == f"next: nas search latency.table={Path('deep/mine.json')}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deploy": DeploySettings()}, r"give deploy\.input=\[HEIGHT,WIDTH\]"),
        ({"runtime": "tflite"}, "BACKEND one of torch-eager"),
        ({"runtime": "tensorrt"}, "runtime tensorrt: cannot be used"),
        ({"runtime": "tensorrt-bf16-b1-t1"}, "got precision 'bf16', expected fp32 or fp16 or int8"),
        ({"runtime": "tensorrt", "accelerator": "cpu"}, "accelerator: got 'cpu', expected cuda"),
        ({"runtime": "torch-eager", "energy": True}, "energy: got true"),
        ({"runtime": "torch-eager", "runner": "bundle"}, "BACKEND one of onnxruntime, onnxruntime-tensorrt"),
        ({"runtime": "torch-script", "runner": "bundle", "out": "bundle.tar"}, "expected a .zip file"),
        ({"runtime": "torch-script", "max_rounds": 500}, "max_rounds: got 500, expected at most 200"),
        ({"runtime": "torch-eager-fp16-b1-t1"}, "fp32 only"),
        ({"accelerator": "npu"}, "expected one of cpu, cuda"),
        ({"device": "My Box"}, "device: got 'My Box'"),
        ({"rounds": 0}, "rounds: got 0"),
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_written(changes: dict[str, Any], message: str, space: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        profile(job(**changes), space)
    assert list(Path().iterdir()) == []


def test_profile_refuses_a_broken_table_at_its_target(space: Any) -> None:
    profile(job(out="a.json"), space)
    Path("a.json").write_text(Path("a.json").read_text()[:-20])
    with pytest.raises(TableError, match=r"^a\.json: not valid JSON"):
        profile(job(out="a.json"), space)
