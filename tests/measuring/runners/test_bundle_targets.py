"""Where a bundle is written, and for which tables none is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config.measuring_jobs import ProfileJob
from nas.cost import save_table
from nas.errors import ConfigError
from nas.measuring.runners.bundle import write_bundle
from nas.measuring.runners.request import request_of
from nas.ops import OpSpec
from tests.cost.simulated_table import table_of
from tests.simulated_device import conv

NAME = "segnas-onnxruntime-fp32-b1-t1.zip"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(**changes: object) -> ProfileJob:
    return ProfileJob(**{"runner": "bundle", "runtime": "onnxruntime", "space": None, **changes})


def write(one: ProfileJob, specs: list[OpSpec]) -> None:
    write_bundle(specs, request_of(one), out=one.out)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch-script"])
def test_the_same_bundle_is_written_again_and_another_one_is_not_written_over_it(runtime: str) -> None:
    path = Path(NAME.replace("onnxruntime", runtime))
    for _ in range(2):
        write(job(runtime=runtime), [conv(1)])
    content = path.read_bytes()
    with pytest.raises(ConfigError, match=f"out: {path} is there already with another measurement; .*another out="):
        write(job(runtime=runtime), [conv(2)])
    assert path.read_bytes() == content


def test_no_bundle_is_made_for_a_table_to_which_its_result_could_not_be_added() -> None:
    table = table_of({conv(1): 1.0}, backend="onnxruntime", device="gtx-1080ti")
    save_table(table, Path("latency_tables") / f"{table.identifier}.json")
    with pytest.raises(ConfigError, match="names no reference operation, .*give another device="):
        write(job(device="gtx-1080ti"), [conv(1), conv(2)])
    assert not Path(NAME).exists()
