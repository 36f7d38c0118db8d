"""ONNX files of others: read, brought to a size, and refused in one line where that cannot be."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from nas.errors import ConfigError
from nas.exporting.onnx_file import is_onnx, read_onnx
from tests.onnx_networks import save_network


def test_a_file_of_free_sizes_takes_each_size_and_batch(tmp_path: Path) -> None:
    file = read_onnx(str(save_network(tmp_path / "free.onnx", ("n", 3, "h", "w"))))
    assert file.size is None
    for size, batch in (((16, 24), 1), ((8, 8), 2)):
        graph = file.at(size, batch=batch)
        assert (graph.input_shape, graph.output_shape, graph.output_type) == ((batch, 3, *size), (batch, 5, *size), "float32")
        onnx.checker.check_model(graph.model, full_check=True)
        (value,) = graph.model.graph.output
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [batch, 5, *size]
    assert file.size is None  # what was made of it left it as it was


def test_a_file_of_a_fixed_size_takes_that_alone(tmp_path: Path) -> None:
    path = str(save_network(tmp_path / "fixed.onnx", (1, 3, 16, 24)))
    file = read_onnx(path)
    assert file.size == (16, 24)
    assert file.at((16, 24), batch=1).output_shape == (1, 5, 16, 24)
    for size, batch in (((32, 24), 1), ((16, 24), 2)):
        with pytest.raises(ConfigError, match=f"networks: {path} takes images 1x3x16x24 alone .*, and {batch}x3x{size[0]}x24 are"):
            file.at(size, batch=batch)


def test_a_size_at_which_a_file_does_not_run_is_said(tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[1].input[1] = "last"  # a scale of another length
    onnx.save(model, path)
    with pytest.raises(ConfigError, match=r"net.onnx at 16x16 does not run \(.*\); give other bench.sizes") as refused:
        read_onnx(str(path)).at((16, 16), batch=1)
    assert "\n" not in str(refused.value)


def test_an_output_whose_shape_depends_on_the_image_is_refused(tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("NonZero", ["c"], ["found"]))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("found", onnx.TensorProto.INT64, [4, "many"]))
    onnx.save(model, path)
    with pytest.raises(
        ConfigError, match=r"net.onnx at 16x16 gives 4x\d+ and 4x\d+ for two inputs, expected an output whose shape"
    ):
        read_onnx(str(path)).at((16, 16), batch=1)


@pytest.mark.parametrize(
    ("shape", "outputs", "reason"),
    [
        ((1, 3, 16), 1, "the input 'image' has 3 sides and element type 1, expected images"),
        ((1, 3, 16, 16), 2, "has the inputs 'image' and the outputs 'logits, d', expected one input of images and one output"),
    ],
)
def test_files_of_another_kind_are_refused(shape: tuple[int, ...], outputs: int, reason: str, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", shape, outputs=outputs)
    with pytest.raises(ConfigError, match=reason):
        read_onnx(str(path))


@pytest.mark.parametrize("content", [b"\x08\xff no", b""])
def test_what_is_no_file_of_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"networks: {path}: got no valid ONNX file") as refused:
        read_onnx(str(path))
    assert "\n" not in str(refused.value)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_onnx(str(path))


def test_the_suffix_tells_an_onnx_file() -> None:
    assert [is_onnx(name) for name in ("a.onnx", "b/A.ONNX", "squeezenas/lat_small", "onnx", "a.onnx/genotype.yaml")] == [
        *(True, True, False, False, False)
    ]
