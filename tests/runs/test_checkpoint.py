"""Checkpoints and weights: round trips, a kill while they are written, and what is refused."""

import itertools
import multiprocessing
import pickle
import signal
import time
import zipfile
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.errors import CheckpointError
from nas.runs.checkpoint import (
    FORMAT_VERSION,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_last,
    save_weights,
    structure_digest,
)

Point = namedtuple("Point", "x y")


class Colour(IntEnum):
    RED = 1


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def trained_state() -> dict[str, Any]:
    """State of a small network with batch norm and of two optimisers after a step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    network(torch.randn(2, 3, 8, 8)).square().mean().backward()
    sgd.step()
    adam.step()
    return {
        "network": network.state_dict(),
        "sgd": sgd.state_dict(),
        "adam": adam.state_dict(),
        "rng": torch.get_rng_state(),
        "loop": {"step": 7, "best": float("-inf"), "split": "train", "done": False, "none": None, "pair": (1, [2.5])},
    }


def assert_equal(got: object, want: object) -> None:
    """Equality of nested plain data, bit for bit."""
    if isinstance(want, torch.Tensor):
        assert type(got) is torch.Tensor
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
    elif isinstance(want, dict):
        assert type(got) is dict
        assert list(got) == list(want)
        for key, item in want.items():
            assert_equal(got[key], item)
    elif isinstance(want, (list, tuple)):
        assert type(got) is type(want)
        for mine, theirs in zip(got, want, strict=True):  # type: ignore[call-overload]
            assert_equal(mine, theirs)
    else:
        assert type(got) is type(want)
        assert got == want


def test_checkpoint_round_trip_is_exact(tmp_path: Path) -> None:
    state = trained_state()
    save_checkpoint(tmp_path / "new" / "folder" / "c.pt", state)
    assert_equal(load_checkpoint(tmp_path / "new" / "folder" / "c.pt"), state)


def test_loaded_state_restores_network_and_optimiser(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", trained_state())
    state = load_checkpoint(tmp_path / "c.pt")
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.load_state_dict(state["network"])
    torch.optim.Adam(network.parameters()).load_state_dict(state["adam"])
    assert_equal(dict(network.state_dict()), dict(trained_state()["network"]))


def test_file_states_its_format_version_and_loads_with_weights_only(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", {"a": 1})
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert content == {"format_version": FORMAT_VERSION, "state": {"a": 1}, "structure": structure_digest({"a": 1})}


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a checkpoint file, its digest aside."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["adam"]["state"].pop(0),
        lambda state: state["network"].pop("0.bias"),
        lambda state: state.update(more=1),
        lambda state: state.update(network={**state["network"], "0.bias": torch.zeros(5)}),
        lambda state: state.update(network={**state["network"], "0.bias": torch.zeros(4, dtype=torch.float64)}),
    ],
)
def test_a_missing_or_changed_piece_is_noticed(change: Callable[[Any], object], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", trained_state())
    rewritten(tmp_path / "c.pt", lambda content: change(content["state"]))
    with pytest.raises(CheckpointError, match="some are missing or were changed"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_checkpoint_of_before_has_no_digest_and_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", {"a": 1})
    rewritten(tmp_path / "c.pt", lambda content: content.pop("structure"))
    assert load_checkpoint(tmp_path / "c.pt") == {"a": 1}


@pytest.mark.parametrize("value", [torch.ones(2).to_sparse(), torch.zeros(1).expand(10**12), {1.5: 2}])
def test_values_that_no_run_writes_are_refused(value: object, tmp_path: Path) -> None:
    torch.save({"format_version": FORMAT_VERSION, "state": {"a": value}}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_negative_variance_is_refused_by_name(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"bn.running_var": torch.tensor([1.0, -1.0])})
    with pytest.raises(CheckpointError, match=r"negative variances in the tensor bn.running_var"):
        load_weights(tmp_path / "w.safetensors")


def test_parameters_and_tensors_with_a_graph_are_saved_as_plain_tensors(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.randn(3))
    tagged = torch.ones(2)
    tagged.note = lambda: None  # type: ignore[attr-defined]
    save_checkpoint(tmp_path / "c.pt", {"parameter": parameter, "result": 2 * parameter, "tagged": tagged})
    state = load_checkpoint(tmp_path / "c.pt")
    assert not any(tensor.requires_grad for tensor in state.values())
    assert_equal(state["result"], 2 * parameter.detach())


def test_subclasses_of_dict_are_saved_as_dicts(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", OrderedDict(a=OrderedDict({3: 1.5})))
    assert_equal(load_checkpoint(tmp_path / "c.pt"), {"a": {3: 1.5}})


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.arange(3),
        np.str_("text"),
        {1, 2},
        b"bytes",
        Path("x"),
        Colour.RED,
        Point(1, 2),
        nn.Linear(1, 1),
        torch.float32,
        torch.device("cpu"),
        lambda: None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_tensors_and_plain_python_is_refused_and_named(tmp_path: Path, value: object) -> None:
    expected = rf"state\['loop'\]\[1\]\['x'\]: got {type(value).__name__}, expected a tensor"
    with pytest.raises(TypeError, match=expected):
        save_checkpoint(tmp_path / "c.pt", {"loop": [0, {"x": value}]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", [1.5, (1, 2), None, True, Colour.RED])
def test_keys_other_than_str_and_int_are_refused(tmp_path: Path, key: object) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]: got the key"):
        save_checkpoint(tmp_path / "c.pt", {"a": {key: 1}})


def malicious_archive(path: Path, bomb: Path) -> None:
    """A file as `torch.save` writes it, with a pickle that runs code."""
    torch.save({"format_version": 1, "state": {"bomb": Bomb(bomb)}}, path)


def malicious_pickle(path: Path, bomb: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(bomb)))


def malicious_legacy(path: Path, bomb: Path) -> None:
    torch.save({"state": Bomb(bomb)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [malicious_archive, malicious_pickle, malicious_legacy])
def test_malicious_file_is_refused_without_running(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    write(tmp_path / "c.pt", tmp_path / "exploded")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="c.pt"):
            load_checkpoint(tmp_path / "c.pt")
    assert not (tmp_path / "exploded").exists()
    torch.load(write_trusted(tmp_path), weights_only=False)
    assert (tmp_path / "exploded").exists()  # The bomb is live.


def write_trusted(folder: Path) -> Path:
    malicious_archive(folder / "live.pt", folder / "exploded")
    return folder / "live.pt"


def assert_refused(load: Callable[[Path], object], path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


def test_missing_file_and_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    for load in (load_checkpoint, load_weights):
        assert_refused(load, tmp_path / "absent")
        assert_refused(load, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a checkpoint\n" * 50, b"PK\x03\x04" + b"x" * 300])
def test_garbage_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "garbage").write_bytes(content)
    assert_refused(load_checkpoint, tmp_path / "garbage")
    assert_refused(load_weights, tmp_path / "garbage")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    save_checkpoint(tmp_path / "c.pt", trained_state())
    save_weights(tmp_path / "w", trained_state()["network"])
    for path, load in ((tmp_path / "c.pt", load_checkpoint), (tmp_path / "w", load_weights)):
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        assert_refused(load, path)


def test_flipped_byte_in_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"x": torch.full((1000,), 3.0)})
    content = bytearray(path.read_bytes())
    position = content.index(np.full(1000, 3.0, dtype=np.float32).tobytes())
    content[position + 2000] ^= 1
    path.write_bytes(content)
    assert_refused(load_checkpoint, path)


def test_foreign_archives_are_refused_in_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        archive.writestr("c/data.pkl", "garbage")
        archive.writestr("c/version", "3")
    torch.save({"state_dict": {"x": torch.ones(1)}}, tmp_path / "foreign.pt")
    torch.save(torch.ones(1), tmp_path / "tensor.pt")
    torch.save({"format_version": FORMAT_VERSION, "state": 3}, tmp_path / "stateless.pt")
    for path in sorted(tmp_path.iterdir()):
        assert_refused(load_checkpoint, path)


def test_other_format_version_is_refused_and_named(tmp_path: Path) -> None:
    torch.save({"format_version": 99, "state": {}}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="format_version 99, expected 1"):
        load_checkpoint(tmp_path / "c.pt")


def test_weights_round_trip_with_shared_and_strided_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    weights = {"base": base, "shared": base, "row": base[1], "transposed": base.t(), "count": torch.tensor(3)}
    weights["channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", weights)
    loaded = load_weights(tmp_path / "w.safetensors")
    assert_equal({name: loaded[name] for name in weights}, weights)
    assert loaded.keys() == weights.keys()


def test_loaded_weights_do_not_depend_on_the_file(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", {"x": torch.ones(1000)})
    loaded = load_weights(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"")
    loaded["x"] += 1
    assert torch.equal(loaded["x"], torch.full((1000,), 2.0))


def test_weights_that_are_no_tensors_are_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="weights 'lr': got float"):
        save_weights(tmp_path / "w", {"lr": 0.1})  # type: ignore[dict-item]


def test_last_is_always_written_and_best_only_on_request(tmp_path: Path) -> None:
    save_last(tmp_path, {"step": 1})
    assert not (tmp_path / "best.pt").exists()
    save_last(tmp_path, {"step": 2}, best=True)
    save_last(tmp_path, {"step": 3})
    assert load_checkpoint(tmp_path / "last.pt") == {"step": 3}
    assert load_checkpoint(tmp_path / "best.pt") == {"step": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_best_is_replaced_before_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_last(tmp_path, {"step": 1}, best=True)
    replaced: list[str] = []
    real = Path.replace

    def spy(self: Path, target: Path) -> Path:
        replaced.append(Path(target).name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    save_last(tmp_path, {"step": 2}, best=True)
    assert replaced == ["best.pt", "last.pt"]
    assert (tmp_path / "best.pt").read_bytes() == (tmp_path / "last.pt").read_bytes()


@pytest.mark.parametrize("key", ["network", "average"])
def test_weights_of_a_training_checkpoint_are_those_it_would_evaluate(tmp_path: Path, key: str) -> None:
    states = {name: {"w": torch.full((2,), value)} for name, value in (("network", 1.0), ("average", 2.0))}
    save_checkpoint(tmp_path / "best.pt", {"verb": "train", "network": states["network"], key: states[key]})
    assert_equal(load_weights(tmp_path / "best.pt"), states[key])


@pytest.mark.parametrize("state", [{"verb": "search", "network": {}}, {"verb": "train"}, {}])
def test_checkpoints_without_weights_of_a_network_are_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "last.pt", state)
    with pytest.raises(CheckpointError, match="last.pt: got a checkpoint of nas .*, expected one of nas train"):
        load_weights(tmp_path / "last.pt")


def test_a_checkpoint_given_as_weights_runs_no_code(tmp_path: Path) -> None:
    torch.save({"format_version": FORMAT_VERSION, "state": {"verb": "train", "network": Bomb(tmp_path / "x")}}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="never loaded"):
        load_weights(tmp_path / "w.pt")
    assert not (tmp_path / "x").exists()


def save_forever(folder: Path) -> None:
    torch.set_num_threads(1)  # A forked process must not touch the threads of its parent.
    for step in itertools.count(1):
        save_last(folder, {"step": step, "x": torch.full((300_000,), float(step))}, best=step % 2 == 0)


def test_kill_in_the_middle_of_saving_never_leaves_an_unreadable_checkpoint(tmp_path: Path) -> None:
    steps = []
    for number in range(15):
        folder = tmp_path / str(number)
        process = multiprocessing.get_context("fork").Process(target=save_forever, args=(folder,), daemon=True)
        process.start()
        try:
            deadline = time.monotonic() + 60
            while not (folder / "last.pt").exists() or not (folder / "best.pt").exists():
                assert process.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(0.0037 * number)
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL
        for name in ("last.pt", "best.pt"):
            state = load_checkpoint(folder / name)
            assert torch.equal(state["x"], torch.full((300_000,), float(state["step"])))
            steps.append(state["step"])
    assert max(steps) > 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_the_name_of_the_tensor(
    tmp_path: Path, dtype: torch.dtype, value: float
) -> None:
    path = tmp_path / "weights.safetensors"
    broken = torch.zeros(2, 3, dtype=dtype)
    broken[1, 2] = value
    save_weights(path, {"whole": torch.ones(2), "count": torch.tensor(3), "stem.conv.weight": broken})
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: got NaN or infinite values in the tensor stem\.conv\.weight"):
        load_weights(path)
