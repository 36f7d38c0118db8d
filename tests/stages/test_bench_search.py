"""`nas bench search`: real steps in small, ratios and targets by hand, wrong input, and an imitation of an official checkout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import nas.cli
from nas.errors import ConfigError, WorkerStoppedError
from nas.probing.bench.bench_job import BenchSearchJob, PeerSettings
from nas.probing.bench.cases import OWN_SHAPES, Shape, Variant, shapes_of, variants_of
from nas.probing.bench.processes import Case, Memory
from nas.probing.bench.spreads import ratio, spread
from nas.probing.bench.step_rounds import Block, Effort, Row, measure
from nas.probing.bench.targets import TARGETS, judge
from nas.stages.bench_search import cases_of
from search_spaces import SEARCH_SPACES

SOFT, FUSED, SAMPLED = Variant("soft", "reference"), Variant("soft", "fused"), Variant("sampled", "reference")
MB = 10**6


def block(
    space: str, shape: Shape, times: dict[Variant, Sequence[float]], *, saved: dict[Variant, int], peak: int = 500 * MB
) -> Block:
    rows = tuple(
        Row(variant=variant, seconds=tuple(seconds), memory=Memory(100 * MB, 100 * MB + peak, saved[variant]))
        for variant, seconds in times.items()
    )
    return Block(space=space, space_settings={}, shape=shape, rows=rows)


def test_deciles_between_two_values_are_interpolated() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == pytest.approx((3.0, 1.4, 4.6))
    assert spread([0.25]) == (0.25, 0.25, 0.25)


def test_a_slow_round_leaves_its_ratio_alone() -> None:
    base = [1.0, 1.0, 1.0, 10.0, 1.0]
    assert ratio([0.5 * one for one in base], base) == (0.5, 0.5, 0.5)
    assert ratio([1.0, 2.0, 9.0], [2.0, 1.0, 3.0]).median == 2.0  # ratios 0.5, 2, 3, where the medians' would be 1


def test_ratios_are_of_the_same_rounds_only() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        ratio([1.0, 2.0], [1.0])


def test_what_others_are_compared_with_comes_first() -> None:
    variants = variants_of(["sampled", "soft"], ["fused", "reference"])
    assert variants[0] == SOFT
    assert set(variants) == {Variant(r, e) for r in ("sampled", "soft") for e in ("fused", "reference")}


def test_every_space_has_three_shapes_of_its_own_and_one_of_them_is_odd() -> None:
    for space in SEARCH_SPACES:
        shapes = shapes_of(space, None)
        assert len(set(shapes)) == 3
        assert any(shape.height % 2 and shape.width % 2 for shape in shapes)
    assert set(OWN_SHAPES) <= set(SEARCH_SPACES)


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, [True, True, True]), (0.51, [False, True, True]), (0.2, [True, True, True])]
)
def test_speed_targets_of_lgcnet(factor: float, expected: list[bool]) -> None:
    times = {SOFT: [1.0, 2.0, 1.0], FUSED: [factor, 2 * factor, factor], SAMPLED: [0.2, 0.4, 0.2]}
    measured = block("lgcnet", Shape(180, 240, 4), times, saved={SOFT: 100, FUSED: 60, SAMPLED: 10})
    verdicts = judge([measured], threads=1)[:3]
    assert [verdict.reached for verdict in verdicts] == expected
    assert [verdict.measured for verdict in verdicts] == pytest.approx([1 / factor, 0.6, 5.0])
    assert verdicts[0].line().startswith("reached" if factor <= 0.5 else "missed")


def test_memory_and_sampling_targets_of_lgcnet_can_be_missed() -> None:
    times = {SOFT: [1.0], FUSED: [0.5], SAMPLED: [0.21]}
    measured = block("lgcnet", Shape(180, 240, 4), times, saved={SOFT: 100, FUSED: 61, SAMPLED: 10})
    assert [verdict.reached for verdict in judge([measured], threads=2)] == [True, False, False, None, None]


@pytest.mark.parametrize(("seconds", "peak", "expected"), [(0.6, 600 * MB, [True, True]), (0.601, 601 * MB, [False, False])])
def test_targets_of_squeezenas_are_those_of_one_thread(seconds: float, peak: int, expected: list[bool]) -> None:
    measured = block("squeezenas_small", Shape(128, 256, 2), {FUSED: [seconds]}, saved={FUSED: 1}, peak=peak)
    assert [verdict.reached for verdict in judge([measured], threads=1)] == [None, None, None, *expected]
    assert [verdict.reached for verdict in judge([measured], threads=2)] == [None] * 5


def test_targets_at_other_shapes_are_not_measured() -> None:
    measured = block("lgcnet", Shape(64, 64, 2), {SOFT: [1.0], FUSED: [0.1]}, saved={SOFT: 100, FUSED: 1})
    assert all(verdict.reached is None for verdict in judge([measured], threads=1))
    assert judge([measured], threads=1)[0].line().startswith("not measured: lgcnet at 180x240x4")
    for target in TARGETS:
        assert target.shape in OWN_SHAPES[target.space]  # the default run measures them all


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_small_run_measures_prints_and_writes(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["spaces=[lgcnet]", "shapes=[33x49x2]", "relaxations=[soft]", "rounds=2", "seconds=0"]
    assert nas.cli.main(["bench", "search", *words]) == 0
    printed = capsys.readouterr().out
    (path,) = (in_tmp / "experiments" / "bench").iterdir()
    assert printed.splitlines()[-1] == f"wrote {path.relative_to(in_tmp)}"
    assert "lgcnet at 33x49, batch 2, 2 rounds; ratios to soft reference" in printed
    content = json.loads(path.read_text())
    assert set(content) == {
        *("format_version", "measured_by", "measured_at", "device", "versions", "protocol", "blocks", "skipped", "targets")
    }
    assert content["device"]["name"] in path.name
    assert content["protocol"]["threads"] == 1
    (one,) = content["blocks"]
    assert (one["space"], one["height"], one["width"], one["batch"]) == ("lgcnet", 33, 49, 2)
    assert one["compared_with"] == "soft reference"
    reference, fused = one["variants"]
    for row in (reference, fused):
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) > 0
        assert row["step_s"]["median"] == pytest.approx(sum(row["seconds"]) / 2, abs=1e-5)
        assert row["peak_bytes"] > row["idle_bytes"] > 50 * MB
        assert row["peak_bytes"] - row["idle_bytes"] > row["activation_bytes"]
    assert reference["time_ratio"] == {"median": 1.0, "p10": 1.0, "p90": 1.0}
    own = [fused["seconds"][n] / reference["seconds"][n] for n in (0, 1)]
    assert fused["time_ratio"]["median"] == pytest.approx(sum(own) / 2, rel=1e-3)
    assert fused["activation_ratio"] == pytest.approx(fused["activation_bytes"] / reference["activation_bytes"])
    assert [target["reached"] for target in content["targets"]] == [None] * len(TARGETS)


WRONG = {
    "space": ("spaces=[lgcnet,nope]", "spaces: got 'nope', expected some of lgcnet, "),
    "no space": ("spaces=[]", "spaces: got [], expected one or more"),
    "space twice": ("spaces=[gas,gas]", "each once"),
    "shape": ("shapes=[128x256]", "shapes: got '128x256', expected HEIGHTxWIDTHxBATCH"),
    "shape of nothing": ("shapes=[0x256x2]", "shapes: got '0x256x2'"),
    "relaxation": ("relaxations=[softer]", "relaxations: got 'softer', expected one of soft, hard, sampled"),
    "execution": ("executions=[fast]", "executions: got 'fast', expected one of reference, fused"),
    "rounds": ("rounds=0", "rounds: got 0, expected at least 1"),
    "peer": ("peer.nobody=here", "peer.nobody: there is no such key; the keys of peer are squeezenas"),
    "peer without a checkout": ("peer.squeezenas=here", "peer.squeezenas: got here, expected the folder of a checkout"),
    "file that is there": ("out=there.json", "out: there.json is there already"),
}


@pytest.mark.parametrize(("word", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_status_2_and_a_line(word: str, message: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "there.json").write_text("mine")
    assert nas.cli.main(["bench", "search", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert [path.name for path in in_tmp.iterdir()] == ["there.json"]
    assert (in_tmp / "there.json").read_text() == "mine"


def test_a_process_that_stops_is_told_with_its_reason() -> None:
    case = Case(space="nope", shape=Shape(32, 32, 1), variant=SOFT, threads=1, seed=0)
    with pytest.raises(WorkerStoppedError, match=r"nope at 32x32x1, soft reference: .* stopped: .*space.name: got 'nope'"):
        measure([case], effort=Effort(rounds=1, seconds=0.0, seed=0))


OPERATIONS = """
import enum
class Ops(enum.Enum):
    inverse_residual_k3 = 1
    residual_skipish = 2
"""
ARCH_SEARCH = """
import torch
from torch.nn import Sequential
from typing import Union
class Mixed(torch.nn.Module):
    def __init__(self, modules: Union[Sequential[torch.nn.Module], None]):
        super().__init__()
        self.ops = torch.nn.ModuleList(modules)
        self.register_buffer("ops_cost", torch.zeros(2))
        self.gumble_arch_params = torch.nn.Parameter(torch.ones(2))
    def forward(self, x):
        w = self.gumble_arch_params.softmax(0)
        return sum(one * op(x) for one, op in zip(w, self.ops)), (w * self.ops_cost).sum()
"""
MODEL = """
import torch
from arch.operations import Ops
from search.arch_search import Mixed
NAMES = (Ops.mobile_net_k3, Ops.mobile_net_residual_skipish)
class Decoder(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.avgpool = torch.nn.AvgPool2d(kernel_size=49, stride=[16, 20], count_include_pad=False)
        self.last = torch.nn.Conv2d(4, classes, 1)
    def forward(self, x):
        pooled = self.avgpool(x)
        assert pooled.shape[2:] == (1, 1)
        return self.last(x * torch.sigmoid(pooled))
class SuperNetworkSqueezeNASNetCityscapes(torch.nn.Module):
    def __init__(self, hyperparams, cost_loss_multiplier, lr_aspp=True):
        super().__init__()
        assert lr_aspp and hyperparams["skip_output_block_index"] == 7
        self.encoder = Mixed([torch.nn.Conv2d(3, 4, 3, 16, 1) for _ in NAMES])
        self.decoder = Decoder(hyperparams["num_classes"])
        self.multiplier = cost_loss_multiplier
        print("their own words")
    def get_named_arch_params(self):
        return {n: p for n, p in self.named_parameters() if n.endswith("gumble_arch_params")}
    def get_named_model_params(self):
        return {n: p for n, p in self.named_parameters() if not n.endswith("gumble_arch_params")}
    def forward(self, normalized_rgb, gt=None):
        features, cost = self.encoder(normalized_rgb)
        assert float(self.encoder.ops_cost.sum()) == 1
        logits = torch.nn.functional.interpolate(self.decoder(features), scale_factor=16)
        return {"loss": torch.nn.functional.cross_entropy(logits, gt, ignore_index=255) + self.multiplier * cost}
"""
SIZES = """
def get_cityscapes_hyperparams_small(width_multiplier, num_classes, skip_output_block_index=8):
    return {"num_classes": num_classes, "skip_output_block_index": skip_output_block_index}
"""


def imitation(folder: Path, **changed: str) -> Path:
    """A checkout with the interface of the official one, its import-time defects included, and next to nothing behind it."""
    files = {
        "arch/operations.py": OPERATIONS,
        "arch/hyperparameters.py": SIZES,
        "search/arch_search.py": ARCH_SEARCH,
        "search/model_search_cityscapes.py": MODEL,
        **changed,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.slow
def test_a_peer_is_timed_in_the_same_rounds(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imitation(in_tmp / "theirs")
    words = ["spaces=[squeezenas_small]", "shapes=[32x48x2]", "relaxations=[sampled]", "executions=[reference]", "rounds=1"]
    assert nas.cli.main(["bench", "search", *words, "peer.squeezenas=theirs", "out=bench.json"]) == 0
    printed = capsys.readouterr().out
    assert "official squeezenas  " in printed
    assert "their own words" not in printed
    text = (in_tmp / "bench.json").read_text()
    (one,) = json.loads(text)["blocks"]
    assert [row["peer"] for row in one["variants"]] == ["", "squeezenas"]
    assert one["variants"][1]["activation_bytes"] > 0
    assert str(in_tmp) not in text


def test_a_peer_is_left_out_where_its_code_cannot_run(in_tmp: Path) -> None:
    job = BenchSearchJob(
        spaces=["lgcnet", "squeezenas_small"],
        shapes=["32x48x2", "33x48x2", "48x32x2"],
        relaxations=["sampled"],
        executions=["reference"],
        peer=PeerSettings(squeezenas=str(imitation(in_tmp / "theirs"))),
    )
    groups, skipped = cases_of(job, SEARCH_SPACES)
    assert [len(group) for group in groups] == [1, 1, 1, 2, 1, 1]
    assert groups[3][1].path == str(in_tmp / "theirs")
    assert skipped == [
        "official squeezenas at 33x48x2: its decoder wants sides that 16 divides",
        "official squeezenas at 48x32x2: it wants a width not below the height",
    ]
    job.spaces = ["lgcnet"]
    with pytest.raises(ConfigError, match=r"peer.squeezenas: .* expected that among spaces"):
        cases_of(job, SEARCH_SPACES)


def test_a_peer_that_fails_is_told_before_anything_is_measured(in_tmp: Path) -> None:
    imitation(in_tmp / "theirs", **{"arch/operations.py": "raise RuntimeError('needs something else')"})
    words = ["spaces=[squeezenas_small]", "shapes=[32x48x2]", "peer.squeezenas=theirs"]
    assert nas.cli.main(["bench", "search", *words, "out=bench.json"]) == 2
    assert not (in_tmp / "bench.json").exists()
