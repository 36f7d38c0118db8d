"""Names of runtimes."""

from __future__ import annotations

import pytest

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.backends import BACKENDS


def test_backend_alone_means_fp32_one_image_one_thread() -> None:
    assert str(RuntimeName.parse("torch-eager", backends=BACKENDS)) == "torch-eager-fp32-b1-t1"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (16, 2), (128, 64)])
def test_full_names_survive_parsing(precision: str, batch: int, threads: int) -> None:
    name = RuntimeName(backend="torch-eager", precision=precision, batch=batch, threads=threads)
    assert RuntimeName.parse(str(name), backends=BACKENDS) == name
    assert RuntimeName.from_full(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "torch",
        "Torch-eager",
        "torch-eager-",
        "torch-eager-fp32",
        "torch-eager-fp32-b1",
        "torch-eager-fp64-b1-t1",
        "torch-eager-fp32-b0-t1",
        "torch-eager-fp32-b1-t01",
        "torch-eager-fp32-t1-b1",
        "torch-eager-fp32-b1-t1 ",
        "torch-eager-fp32-b1-t1.json",
        "tensorrt-fp32-b1-t1",
    ],
)
def test_wrong_names_are_refused_with_the_backends_and_the_pattern(text: str) -> None:
    with pytest.raises(ConfigError, match="BACKEND-PRECISION-bN-tN with BACKEND one of torch-eager") as caught:
        RuntimeName.parse(text, backends=BACKENDS)
    assert repr(text) in str(caught.value)


def test_full_name_of_a_foreign_backend_is_readable() -> None:
    assert RuntimeName.from_full("tensorrt-int8-b4-t1") == RuntimeName(backend="tensorrt", precision="int8", batch=4)
    assert RuntimeName.from_full("tensorrt") is None
