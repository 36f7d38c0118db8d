"""Stage `profile` from its settings: three tiny operations measured for real on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.config.jobs import ProfileJob
from nas.config.settings import DeploySettings
from nas.cost import LatencyTable, load_table
from nas.devices.this_machine import cpu_name
from nas.errors import ConfigError, TableError
from nas.measuring import profile_target
from nas.measuring.backends.torch_eager import TorchEager
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.stages.profiling import profile
from tests.simulated_device import RUNTIME, conv


def job(**changes: Any) -> ProfileJob:
    return ProfileJob(**{"space": None, "deploy": DeploySettings(input=[16, 24], init_channels=4), "rounds": 2, **changes})


SMALL, MIDDLE, LARGE = conv(4, 4), conv(8, 16), conv(16, 64)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A working folder, and a space whose plan is three tiny operations; returns what the plan was asked for."""
    calls: list[dict[str, Any]] = []

    def deployed_specs(space: Any, **shape: Any) -> tuple[OpSpec, ...]:
        del space
        calls.append(shape)
        return SMALL, MIDDLE, LARGE

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profile_target, "deployed_specs", deployed_specs)
    return calls


def test_profile_measures_the_deployed_shape_for_real_into_a_table_named_after_this_machine(
    asked: list[dict[str, Any]],
) -> None:
    result = profile(job(num_classes=7, rounds=3), None)  # type: ignore[arg-type]
    assert asked == [{"deployment": Deployment((16, 24), 4, 7)}]
    assert result.path == Path("latency_tables") / cpu_name() / "torch-eager-fp32-b1-t1.json"
    table: LatencyTable = load_table("auto/torch-eager")
    assert table == result.table
    assert 1e-4 < table.cost(SMALL) < table.cost(LARGE) < 1000
    assert table.runtime.version == TorchEager(RUNTIME).version


@pytest.mark.usefixtures("asked")
def test_profile_writes_where_and_under_the_name_it_is_told() -> None:
    result = profile(job(device="bench", out="deep/mine.json", runtime="torch-eager-fp32-b2-t1"), None)  # type: ignore[arg-type]
    assert load_table("deep/mine.json").identifier == "bench/torch-eager-fp32-b2-t1"
    assert result.summary()[-1] == f"next: nas search latency.table={Path('deep/mine.json')}"


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deploy": DeploySettings()}, r"give deploy\.input=\[HEIGHT,WIDTH\]"),
        ({"runtime": "tflite"}, "BACKEND one of torch-eager"),
        ({"runtime": "tensorrt"}, "runtime tensorrt: not found"),
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
def test_wrong_settings_are_refused_and_nothing_is_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        profile(job(**changes), None)  # type: ignore[arg-type]
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("asked")
def test_profile_refuses_a_broken_table_at_its_target() -> None:
    profile(job(out="a.json"), None)  # type: ignore[arg-type]
    Path("a.json").write_text(Path("a.json").read_text()[:-20])
    with pytest.raises(TableError, match=r"^a\.json: not valid JSON"):
        profile(job(out="a.json"), None)  # type: ignore[arg-type]
