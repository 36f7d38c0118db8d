"""ONNX files that are broken, divided or strange are refused in a line, before ONNX Runtime follows them anywhere."""

from __future__ import annotations

import random
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.errors import ConfigError
from nas.exporting import checked_onnx, required_packages
from nas.exporting.checked_onnx import Port, open_onnx, tensors_in
from tests.onnx_files import write_file


@pytest.fixture
def file(tmp_path):
    return write_file(tmp_path / "m.onnx", size=(12, None), metadata={"a": "b"})


def refused(path):
    """What is said of a file, in one line."""
    with pytest.raises(ConfigError) as error:
        open_onnx(path, threads=1)
    message = str(error.value)
    assert message.startswith(f"onnx: {path}: ")
    assert message.isprintable()
    return message


def test_a_file_tells_its_ports_and_metadata_and_runs(file):
    session = open_onnx(file, threads=1)
    assert session.inputs == [Port("images", (None, 3, 12, None), "float")]
    assert [str(port) for port in session.outputs] == ["logits [?,11,12,?]"]
    assert session.properties == {"a": "b"}
    assert session.run("logits", {"images": np.zeros((2, 3, 12, 8), np.float32)}).shape == (2, 11, 12, 8)


def test_what_onnx_runtime_says_of_an_input_is_said_in_a_line_with_the_remedy(file, capfd):
    session = open_onnx(file, threads=1)
    with pytest.raises(ConfigError, match=r"ONNX Runtime stops at an input of 1x3x13x8: .*multiples of 32$") as error:
        session.run("logits", {"images": np.zeros((1, 3, 13, 8), np.float32)})
    assert str(error.value).isprintable()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no model\n", b"\x08\x08\x3a\xff\xff", b"\x00" * 100, b"{}"])
def test_bytes_that_are_no_model_are_refused(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "got no valid ONNX file" in refused(path)


def test_a_file_cut_anywhere_is_refused(file):
    content = file.read_bytes()
    for end in range(0, len(content), 41):
        file.write_bytes(content[:end])
        refused(file)


def test_a_file_changed_by_chance_is_refused_in_a_line_or_opens(file, capfd):
    """Whatever is changed, nothing but a `ConfigError` comes of it, and ONNX Runtime writes nothing to the terminal."""
    content, chance, opened = file.read_bytes(), random.Random(0), 0
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 4))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        file.write_bytes(changed)
        try:
            session = open_onnx(file, threads=1)
            said = " ".join(map(str, (*session.inputs, *session.outputs)))
            opened += 1
        except ConfigError as error:
            said = str(error)
        assert said.isprintable()
    assert 10 < opened < 140
    assert capfd.readouterr() == ("", "")


def test_weights_in_other_files_are_refused_wherever_they_are_named(file, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00" * 4096)
    whole = onnx.load_model(file)
    names = [tensor.name for tensor in tensors_in(whole)]
    assert names == ["weight", "bias"]
    for make in (_outside_weight, _outside_constant, _outside_in_a_branch):
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        make(model)
        file.write_bytes(model.SerializeToString())
        assert "1 of its tensors lie in other files (external data), expected all in one" in refused(file)


def _outside(name):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret")
    return tensor


def _outside_weight(model):
    model.graph.initializer.append(_outside("more"))


def _outside_constant(model):
    model.graph.node.append(helper.make_node("Constant", [], ["more"], value=_outside("more")))


def _outside_in_a_branch(model):
    inner = helper.make_graph(
        [helper.make_node("Identity", ["more"], ["out"])],
        "inner",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [_outside("more")],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["either"], then_branch=inner, else_branch=inner.__class__()))


@pytest.mark.parametrize(
    ("node", "domain", "said"),
    [("Convolve", "", "no valid ONNX file: .*Convolve"), ("Convolve", "my.own", "cannot load it: .*my.own.*")],
)
def test_an_operator_that_nobody_knows_is_named(file, node, domain, said):
    model = onnx.load_model(file)
    model.graph.node[-1].op_type, model.graph.node[-1].domain = node, domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    file.write_bytes(model.SerializeToString())
    message = refused(file)
    assert re.search(said, message)


def test_a_file_beyond_the_limit_is_not_read(file, monkeypatch):
    monkeypatch.setattr(checked_onnx, "MAX_BYTES", 100)
    assert "got more than 100 bytes" in refused(file)


def test_what_is_no_file_is_an_error_of_the_system(tmp_path):
    for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "gone.onnx", FileNotFoundError)):
        with pytest.raises(error):
            open_onnx(path, threads=1)


def test_packages_that_are_missing_are_named(file, monkeypatch):
    monkeypatch.setattr(required_packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnx and onnxruntime, which are not installed: pip install 'segnas\[export\]'"):
        open_onnx(file, threads=1)
