"""Where a bundle is written, and for which tables none is made."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pytest

from nas.config.measuring_jobs import ProfileJob
from nas.cost import save_table
from nas.errors import ConfigError
from nas.measuring.runners.bundle import _job_in, write_bundle
from nas.measuring.runners.request import request_of
from nas.ops import OpSpec
from nas.worker.job import JOB_FILE
from tests.cost.simulated_table import table_of
from tests.measuring.runners.children import in_child
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


def mutated(content: bytes, draw: random.Random) -> bytes:
    """A bundle cut off, or with some bytes of its directory, its headers or anything else overwritten."""
    if draw.random() < 0.2:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    places = [content.rindex(b"PK\x05\x06"), content.index(b"PK\x01\x02"), content.index(b"PK\x03\x04"), 0]
    for _ in range(draw.randrange(1, 4)):
        place = draw.choice(places) + draw.randrange(46)
        changed[min(place, len(changed) - 1)] = draw.randrange(256)
    return bytes(changed)


def packed_as(method: int, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(JOB_FILE, content)
    return stream.getvalue()


def test_a_file_there_already_that_is_no_bundle_is_refused_in_one_line_and_stays() -> None:
    """Whatever it is: torn, packed in another way, or unpacking to more than any job has."""
    path = Path(NAME)
    write(job(), [conv(1)])
    whole = path.read_bytes()
    for method in (None, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        path.write_bytes(whole[: len(whole) // 2] if method is None else packed_as(method, bytes(200_000_000)))
        content = path.read_bytes()
        ended = in_child(lambda: write(job(), [conv(1)]))
        assert ended.kind == "ConfigError"
        assert ended.message == f"out: {NAME} is there already with another measurement; delete it, or give another out="
        assert ended.grown_mb < 100
        assert path.read_bytes() == content


def test_of_a_mutated_bundle_its_own_job_is_read_or_none() -> None:
    path, draw = Path(NAME), random.Random(18)
    write(job(), [conv(1)])
    whole, own = path.read_bytes(), _job_in(path)
    assert own is not None
    found = []
    for _ in range(1000):
        path.write_bytes(mutated(whole, draw))
        found.append(_job_in(path))
    assert set(found) == {own, None}
    assert found.count(None) > 200


def test_a_pipe_in_place_of_the_bundle_is_not_waited_for() -> None:
    os.mkfifo(NAME)
    with pytest.raises(ConfigError, match="is there already"):
        write(job(), [conv(1)])
