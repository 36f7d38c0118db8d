"""Architecture sets, forced passes and the choice between branches; the co-search from the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import nas
from nas.config.jobs import SearchJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings
from nas.data import build_dataset
from nas.data.synthetic import SyntheticConfig
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError
from nas.runs.checkpoint import load_checkpoint, save_checkpoint
from nas.runs.tracking import read_metrics
from nas.space.capabilities import Judge
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype
from nas.space.search_space import open_choices
from nas.supernet.passes import Pass, passes_of
from nas.supernet.search_task import SearchTask
from search_spaces import SEARCH_SPACES
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.space import BRANCH_OUTPUTS, FasterSeg
from tests.small_jobs import made_up_table

TINY = ("space.layers=4", "space.filters=3", "space.widths=[4,8,12]", "data.size=[32,64]", "data.train=4", "data.val=2")


def logits_of(space: FasterSeg, name: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[int]] = {}
    for choice in open_choices(space, name):
        rows.setdefault(choice.group, []).append(len(choice.options))
    return {group: torch.randn(len(sizes), sizes[0], generator=generator) for group, sizes in rows.items()}


def both(space: FasterSeg) -> dict[str, dict[str, torch.Tensor]]:
    return {name: logits_of(space, name, seed=i) for i, name in enumerate(space.architecture_sets)}


def scores(better: str) -> dict[str, float]:
    return {output: 0.5 if option == better else 0.3 for option, output in BRANCH_OUTPUTS.items()}


def test_the_student_searches_widths_between_layers_and_the_teacher_none():
    space = FasterSeg(FasterSegConfig())
    student, teacher = ({choice.name for choice in open_choices(space, name)} for name in ("student", "teacher"))
    widths = {choice.name for choice in space.choices() if choice.name.endswith(".width")}
    ends = {"stem.width", "head.width"}
    assert student - teacher == widths - ends
    assert not (student | teacher) & ends
    assert {space.fixed("student")[name] for name in ends} == {"8/12"}
    assert set(space.fixed("teacher").values()) == {"12/12"}


@pytest.mark.parametrize(("mode", "expected"), [("max", {"12/12"}), ("min", {"4/12"})])
def test_forced_widths_are_those_of_the_lattice_alone(mode, expected):
    space = FasterSeg(FasterSegConfig())
    forced = space.forced(mode, torch.Generator())
    assert set(forced.values()) == expected
    assert set(forced) == {choice.name for choice in open_choices(space, "student") if choice.name.endswith(".width")}


def test_random_widths_come_from_the_generator_and_take_every_width():
    space = FasterSeg(FasterSegConfig())
    one, again, other = (space.forced("random", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert set(one.values()) == {"4/12", "6/12", "8/12", "10/12", "12/12"}


def test_branches_are_those_that_score_better_of_each_set_by_itself():
    space = FasterSeg(FasterSegConfig(layers=9))
    logits = both(space)
    derived = space.derive(logits, Judge({"student": scores("32+8"), "teacher": scores("32+16")}))
    assert {name: one.choices["branches"] for name, one in derived.items()} == {"student": "32+8", "teacher": "32+16"}
    assert {one.choices["branches"] for one in space.derive(logits).values()} == {"32+16"}
    for name, one in derived.items():
        assert one.choices == space.alternatives(logits[name], name)[one.choices["branches"]]


def test_officially_the_teacher_takes_the_branches_of_the_students_scores():
    """The official code stores the scores of the last architecture, which is the student, in both files."""
    space = FasterSeg(FasterSegConfig(layers=9, fidelity="official"))
    derived = space.derive(both(space), Judge({"student": scores("32+8"), "teacher": scores("32+16")}))
    assert {one.choices["branches"] for one in derived.values()} == {"32+8"}


@pytest.mark.parametrize(("slower", "expected"), [(1.0, "32+8"), (1e4, "32+16")])
def test_a_faster_network_may_beat_a_more_accurate_one(slower, expected):
    space = FasterSeg(FasterSegConfig(layers=9))

    def latency(choices):
        return slower if choices["branches"] == "32+8" else 1.0

    derived = space.derive(both(space), Judge(dict.fromkeys(space.architecture_sets, scores("32+8")), latency))
    assert derived["student"].choices["branches"] == expected  # 0.5 / 0.3 = 1.67 < (1e4)^0.07 = 1.91


def test_the_teacher_has_no_skips_and_every_width_full():
    space = FasterSeg(FasterSegConfig(layers=9))
    logits = both(space)
    for groups in logits.values():
        for stride in (8, 16, 32):
            groups[f"op_{stride}"][:, 0] = 50.0
    derived = space.derive(logits)
    depth = {
        name: sum(option != "none" for key, option in one.choices.items() if key.startswith("branch.32") and key.endswith(".op"))
        for name, one in derived.items()
    }
    assert depth == {"teacher": 9, "student": 7}  # round(9 / 3) + 2 for each of two downs
    full = {option for key, option in derived["teacher"].choices.items() if key.endswith("width")}
    assert full == {"12/12", "none"}


@pytest.mark.parametrize(
    ("fidelity", "expected"),
    [
        ("corrected", ["teacher:max", "student:min", "student:random", "teacher:random"]),
        ("official", ["teacher:max", "teacher:min", "teacher:random", "teacher:random"]),
    ],
)
def test_the_warm_up_trains_the_students_parts_unless_it_is_the_official_one(fidelity, expected):
    warmup, usual = passes_of(SearchSettings(), FasterSeg(FasterSegConfig(fidelity=fidelity)))
    assert [f"{one.architecture}:{one.mode}" for one in warmup] == expected
    assert usual == (Pass("teacher"), Pass("student"), Pass("student", "max"), Pass("student", "min"))


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (["student", "pupil"], "search.passes: got 'pupil', expected one of student, teacher"),
        (["student", "student:wide"], "got 'student:wide', .* a MODE of max, min, random"),
        (["teacher", "student:max"], "expected student without a mode once"),
        (["student", "student"], "expected student without a mode once"),
        ([], "search.passes: got no passes"),
    ],
)
def test_passes_without_meaning_are_refused(passes, message):
    with pytest.raises(ConfigError, match=message):
        passes_of(SearchSettings(passes=passes), FasterSeg(FasterSegConfig()))


def test_a_warm_up_without_passes_is_refused():
    with pytest.raises(ConfigError, match="search.warmup_passes: got no passes"):
        passes_of(SearchSettings(warmup_passes=[]), FasterSeg(FasterSegConfig()))


def test_filters_that_leave_a_map_without_channels_are_refused():
    with pytest.raises(ConfigError, match=r"space.filters, space.widths: got 1, \[1,12\], whose narrowest maps have no channels"):
        FasterSegConfig(filters=1, widths=[1, 12])


def test_a_lattice_too_small_for_official_paths_is_refused_before_anything_is_trained(run_nas, tmp_path):
    shape = ("space.layers=6", *TINY[1:])
    done = run_nas(
        "search", "space=fasterseg", *shape, "space.fidelity=official", "latency.table=none", "latency.weight=0", "out=run"
    )
    assert (done.status, len(done.err_lines)) == (2, 1)
    assert "space.layers: got 6 with space.fidelity=official, expected at least 8" in done.err
    assert not (tmp_path / "run").exists()


def test_spaces_with_one_set_have_one_pass_and_no_modes():
    entry = SEARCH_SPACES["lgcnet"]
    space = entry.build(entry.config())
    assert passes_of(SearchSettings(), space) == ((Pass("default"),), (Pass("default"),))
    with pytest.raises(ConfigError, match="expected one of default$"):
        passes_of(SearchSettings(passes=["default:max"]), space)


def test_noise_for_each_image_is_refused_for_widths_are_drawn_for_the_batch(run_nas):
    done = run_nas("search", "space=fasterseg", *TINY, "latency.table=macs", "search.noise=image")
    assert (done.status, len(done.err_lines)) == (2, 1)
    assert "search.noise: got image, but space fasterseg runs one option of stem.width" in done.err


def test_a_target_in_ms_is_refused_with_what_to_do_instead(run_nas):
    done = run_nas("search", "space=fasterseg", *TINY, "latency.table=macs", "latency.target_ms=5")
    assert (done.status, len(done.err_lines)) == (2, 1)
    assert "space fasterseg derives other decisions than it searches" in done.err


def test_a_search_leaves_both_networks_which_derive_gives_again_and_show_describes(run_nas, tmp_path):
    searched = run_nas(
        "search",
        "space=fasterseg",
        *TINY,
        "search.epochs=2",
        "search.warmup_epochs=1",
        "search.recalibrate=1",
        "latency.table=macs",
        "trainer.threads=1",
        "out=run",
    )
    assert searched.status == 0, searched.err
    assert "genotype_teacher.yaml" in searched.out
    student, teacher = (nas.load_genotype(f"run/{name}.yaml") for name in ("genotype", "genotype_teacher"))
    assert (student.provenance["architecture"], teacher.provenance["architecture"]) == ("student", "teacher")
    assert student.choices["stem.width"] == "8/12"
    assert teacher.choices["stem.width"] == "12/12"
    rows = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    last = {row["split"]: row for row in rows if row["split"].startswith("val")}
    for split, genotype in (("val", student), ("val_teacher", teacher)):
        better = max(BRANCH_OUTPUTS, key=lambda option: last[split][f"miou_{BRANCH_OUTPUTS[option]}"])
        if last[split]["miou_8s_32s"] != last[split]["miou_16s_32s"]:
            assert genotype.choices["branches"] == better  # counts are no latency, so that mIoU alone decides
        assert last[split]["derived_latency"] == pytest.approx(nas.predict(genotype, nas.cost.MacsTable()).ms)
    again = run_nas("derive", "run=run", "out=again")
    assert again.status == 0, again.err
    assert nas.load_genotype("again/genotype.yaml").choices == student.choices
    assert nas.load_genotype("again/genotype_teacher.yaml").choices == teacher.choices
    assert run_nas("show", "genotype=run", "out=picture.png").status == 0
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert "miou_16s_32s" in json.dumps(last)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A made-up table in ms of the tiny space at its data's size."""
    space = FasterSeg(FasterSegConfig(layers=4, filters=3, widths=[4, 8, 12]))
    specs = space.plan(Deployment((32, 64), 3, 11))
    made_up_table(tmp_path / "table.json", specs)
    return str(tmp_path / "table.json")


def test_derive_chooses_between_branches_by_latency_too_and_keeps_no_target(run_nas, table, tmp_path):
    settings = ["search.epochs=2", "search.warmup_epochs=1", "search.recalibrate=1", "search.max_steps=4", "trainer.threads=1"]
    search = ["search", "space=fasterseg", *TINY, *settings, f"latency.table={table}", "out=run"]
    done = run_nas(*search, "latency.band_fps=[1,2]", "latency.unit=ms", "latency.weight=0.5")
    assert done.status == 0, done.err
    assert "FPS predicted, outside of latency.band_fps=[1.0,2.0]; give more search.epochs" in done.out
    rows = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert [row["multiplier"] for row in rows if row["split"] == "train"][-1] == 0.25  # both networks are faster than 2 FPS
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    space = FasterSeg(FasterSegConfig(**state["space"]["config"]))
    networks = space.alternatives(state["guided_logits"]["student"], "student")
    ms = {option: nas.predict(genotype_with("run", choices), nas.load_table(table)).ms for option, choices in networks.items()}
    faster = min(ms, key=lambda option: ms[option])
    (slower,) = set(ms) - {faster}
    gain = (ms[slower] / ms[faster]) ** 0.07
    assert gain > 1
    scores = {BRANCH_OUTPUTS[slower]: 0.5 * (1 + gain) / 2, BRANCH_OUTPUTS[faster]: 0.5}  # better, but not by enough
    state["scores"] = dict.fromkeys(space.architecture_sets, scores)
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt", state)
    assert run_nas("derive", "run=run", "out=again").status == 0
    derived = nas.load_genotype("again/genotype.yaml")
    assert derived.choices["branches"] == faster
    assert derived.provenance["expected_latency"] == pytest.approx(ms[faster])
    refused = run_nas("derive", "run=run", "targets=[2,3]")
    assert (refused.status, len(refused.err_lines)) == (2, 1)
    assert "space fasterseg derives other decisions than it searches" in refused.err


def genotype_with(run: str, choices: Mapping[str, str]) -> Genotype:
    return dataclasses.replace(nas.load_genotype(run), choices=choices)


def test_the_latency_term_begins_at_its_weight(table):
    """Relative to the uniform architecture as the objective takes it apart; 2/500 of it depend on the widths drawn."""
    config = FasterSegConfig(layers=4, filters=3, widths=[4, 8, 12])
    data = SyntheticConfig(size=[32, 64], train=4, val=2)
    settings = SearchSettings(level="bilevel", batch_size=2, recalibrate=0)
    job = SearchJob(space=config, data=data, search=settings, latency=LatencySettings(table=table, weight=0.3))
    job = dataclasses.replace(job, deploy=DeploySettings(input=[32, 64]))
    train_set, val_set = (build_dataset(data, split) for split in ("train", "val"))
    task = SearchTask(job, FasterSeg(config), train_set=train_set, val_set=val_set, fabric=make_fabric(job.trainer))
    (draw,) = [one for one in task.draws.of_step(0) if one.architecture == "student" and one.mode is None]
    _, latency = task.supernet(torch.zeros(2, 3, 32, 64), draw)
    assert float(task.control.weighted(latency)) == pytest.approx(0.3, rel=5e-3)


def test_the_space_is_shown_with_what_there_is_to_profile(run_nas):
    shown = run_nas("show", "space=fasterseg", "deploy.input=[64,128]", "num_classes=19")
    assert shown.status == 0, shown.err
    assert "supernet: 251,803,822 weights, 778 architecture parameters" in shown.out  # 499 and 279
