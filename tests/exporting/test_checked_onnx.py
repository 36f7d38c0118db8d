"""ONNX files that are broken or strange, or name files elsewhere, are refused in a line; ONNX Runtime follows no name."""

from __future__ import annotations

import os
import random
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

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


def divided(file, location="m.data", **told):
    """Move the weights of a file into another one, as it is told."""
    model = onnx.load_model(file)
    (weight, _) = tensors_in(model)
    content = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": 8, "length": len(content), **told}.items():
        if value is not None:
            weight.external_data.add(key=key, value=str(value))
    file.write_bytes(model.SerializeToString())
    return b"12345678" + content


def test_weights_in_a_file_beside_it_are_read(file):
    images = {"images": np.random.default_rng(0).normal(size=(1, 3, 12, 8)).astype(np.float32)}
    expected = open_onnx(file, threads=1).run("logits", images)
    whole = file.read_bytes()
    for told in ({}, {"length": None}):
        file.write_bytes(whole)
        (file.parent / "m.data").write_bytes(divided(file, **told))
        assert np.array_equal(open_onnx(file, threads=1).run("logits", images), expected)


@pytest.mark.parametrize(
    ("location", "told", "said"),
    [
        ("../m.data", {}, "weights in '../m.data', expected them in a file beside it"),
        ("/weights/m.data", {}, "weights in '/weights/m.data', expected them in a file beside it"),
        ("..", {}, "Is a directory"),
        ("", {}, "weights in '', expected"),
        ("link", {}, "weights in 'link', expected them in a file beside it, which is no link"),
        ("pipe", {}, "is a pipe or a device"),
        ("gone", {}, "No such file"),
        ("m.data", {"offset": 9}, "m.data ends within the weights"),
        ("m.data", {"offset": -1}, "bytes at -1"),
        ("m.data", {"length": "x"}, "invalid literal"),
        ("m.data", {"length": 4}, "no valid ONNX file"),
        ("m.data", {"offset": 10**30}, "no valid ONNX file"),
    ],
)
def test_weights_elsewhere_are_refused(file, location, told, said):
    content = divided(file, location, **told)
    (file.parent / "m.data").write_bytes(content)
    (file.parent / "link").symlink_to("m.data")
    os.mkfifo(file.parent / "pipe")
    assert said in refused(file)


def test_weights_beside_a_file_are_bounded_in_all(file, monkeypatch):
    (file.parent / "m.data").write_bytes(divided(file, length=None) + bytes(2000))
    monkeypatch.setattr(checked_onnx, "MAX_BYTES", 1500)
    assert "more than 1,500 bytes of weights" in refused(file)


@pytest.mark.parametrize("where", ["constant", "branch"])
def test_weights_elsewhere_are_found_wherever_they_are_named(file, where):
    model = onnx.load_model(file)
    tensor = TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    inner = helper.make_graph([helper.make_node("Identity", ["more"], ["out"])], "inner", [], [], [tensor])
    nodes = {
        "constant": helper.make_node("Constant", [], ["more"], value=tensor),
        "branch": helper.make_node("If", ["yes"], ["either"], then_branch=inner, else_branch=inner),
    }
    model.graph.node.append(nodes[where])
    file.write_bytes(model.SerializeToString())
    assert "weights in '../secret', expected" in refused(file)


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
