"""Recipes: each runs two steps of every verb that it is for; a verb takes the part that it knows, and says what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from nas.cli.recipes import read_recipes
from nas.cli.verbs import recipe_keys
from nas.config.jobs import SearchJob, TrainJob
from nas.config.measuring_jobs import ProfileJob
from tests.small_jobs import CHECKOUT

CONF = CHECKOUT / "conf"
FILES = sorted((CONF / "recipe").glob("*.yaml"))
DATA = ("data=synthetic", "data.size=[32,64]", "data.train=4", "data.val=2", "data.test=2", "trainer.threads=1", "out=run")
SEARCH = (
    *("search.epochs=1", "search.warmup_epochs=0", "search.max_steps=2", "search.batch_size=2", "search.crop=null"),
    *("search.eval_every=0", "search.recalibrate=0", "latency.table=macs", "deploy.input=[32,64]"),
)
SMALL = {
    "lgcnet": (
        *("search.init_channels=2", "deploy.init_channels=2", "space.head_channels=4"),
        *("space.num_cells=3", "space.reduction_cells=[1,2]", "space.fused_cells=[0,1,2]"),
    ),
    "fasterseg": ("space.layers=4", "space.filters=3", "space.widths=[4,8,12]", "deploy.init_channels=3"),
    "mini": ("search.init_channels=2", "deploy.init_channels=2", "space.head_channels=4"),
    "squeezenas_small": ("space.stages=[[8,2,2],[12,2,2],[16,2,1]]", "space.low_level_block=1", "space.last_channels=16"),
}
"""Space -> what makes it small."""
OF_A_SPACE = {"squeezenas": ("squeezenas_small", "squeezenas_large", "squeezenas_xlarge"), "fasterseg": ("fasterseg",)}
"""Recipe -> the spaces whose searches it is the default of."""


def has(path: Path, verb: str) -> bool:
    """Whether a recipe holds settings of its own for a verb."""
    return bool(yaml.safe_load(path.read_text()).get(verb))


@pytest.mark.parametrize("path", [path for path in FILES if has(path, "search")], ids=lambda path: path.stem)
def test_every_recipe_searches_two_steps(path, run_nas):
    name = path.stem
    chosen = {"squeezenas": "squeezenas_small", "fasterseg": "fasterseg"}.get(name)
    space = chosen or next((one for one in SMALL if one.startswith(name.partition("_")[0])), "lgcnet")
    given = (f"recipe={name}", *([f"space={chosen}"] if chosen else []))
    outcome = run_nas("search", *given, *DATA, *SEARCH, *SMALL[space])
    assert outcome.status == 0, outcome.err
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (config["space"]["name"], config["data"]["name"]) == (space, "synthetic")


def test_single_path_goes_with_the_recipe_of_a_space_whose_noise_is_for_each_image(run_nas):
    given = ("space=squeezenas_small", "recipe=[squeezenas,single_path]", "search.candidates=2")
    outcome = run_nas("search", *given, *DATA, *SEARCH, *SMALL["squeezenas_small"])
    assert outcome.status == 0, outcome.err
    assert yaml.safe_load(Path("run/genotype.yaml").read_text())["provenance"]["candidates"] == 2


@pytest.mark.parametrize("path", [path for path in FILES if has(path, "train")], ids=lambda path: path.stem)
def test_every_recipe_trains_two_steps(path, run_nas):
    short = ("train.max_steps=2", "train.batch_size=2", "train.crop=null", "train.eval_every=0")
    outcome = run_nas("train", "genotype=squeezenas/lat_small", f"recipe={path.stem}", *DATA, *short)
    assert outcome.status == 0, outcome.err


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recipe_says_what_it_is_for_and_holds_known_sections(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# ")
    assert path.stem in read_recipes([CONF], recipe_keys(), recipe_keys()).configs


@pytest.mark.parametrize(("recipe", "space"), [(recipe, space) for recipe, spaces in OF_A_SPACE.items() for space in spaces])
def test_search_of_a_space_takes_its_recipe(recipe, space, run_nas):
    stated = yaml.safe_load((CONF / "recipe" / f"{recipe}.yaml").read_text())
    settings = yaml.safe_load(run_nas("search", f"space={space}", "--cfg", "job").out)
    for section, values in stated.items():
        assert {key: float(value) if key.endswith("decay") or key.endswith("lr") else value for key, value in values.items()} == {
            key: settings[section][key] for key in values
        }


@pytest.mark.parametrize("recipe", OF_A_SPACE)
def test_the_recipe_of_a_space_is_refused_with_the_default_one_and_told_with_another(recipe, run_nas):
    refused = run_nas("search", f"recipe={recipe}", *DATA, *SEARCH)
    names = ", ".join(OF_A_SPACE[recipe])
    told = f"recipe: got {recipe}, which is that of {names}, with space=lgcnet"
    assert (refused.status, refused.err) == (
        *(2, f"nas search: {told}, the default; add space={OF_A_SPACE[recipe][0]}, or space=lgcnet if that is meant\n"),
    )
    asked = run_nas("search", f"recipe={recipe}", "space=lgcnet", *DATA, *SEARCH[:-2], "latency.table=no-such-table")
    assert told in asked.out
    assert "latency.table: got 'no-such-table'" in asked.err


@pytest.mark.parametrize("words", [("search", "recipe=null"), ("profile", "recipe=null"), ("search", "logger=null")], ids=" ".join)
def test_null_leaves_a_config_group_out(words, run_nas):
    outcome = run_nas(*words, "--cfg", "job")
    assert outcome.status == 0, outcome.err
    weights = [line for line in outcome.out.splitlines() if line.startswith("  weight: ")]
    assert weights in ([], ["  weight: 0.1"])


def test_null_in_a_sweep_and_for_what_is_needed_is_refused(run_nas):
    sweep = run_nas("search", "--multirun", "recipe=null,demo", "latency.table=macs")
    assert (sweep.status, len(sweep.err_lines)) == (2, 1)
    assert "got null among the choices of a config group" in sweep.err
    needed = run_nas("search", "data=null", "latency.table=macs")
    assert (needed.status, needed.err) == (2, "nas search: data is missing; give data=synthetic\n")


def test_a_package_that_is_not_there_is_refused_in_one_line(run_nas):
    outcome = run_nas("search", "--cfg", "job", "--package", "WRONG")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "package 'WRONG' not found in config; correct the flags" in outcome.err


def test_one_recipe_serves_profile_search_and_train(run_nas):
    shape = {"input": [180, 240], "init_channels": 16}
    search = yaml.safe_load(run_nas("search", "recipe=lgcnet_camvid", "--cfg", "job").out)
    assert (search["data"]["name"], search["data"]["size"], search["search"]["epochs"]) == ("camvid", [180, 240], 32)
    train = yaml.safe_load(run_nas("train", "recipe=lgcnet_camvid", "--cfg", "job").out)
    assert (train["data"]["name"], train["train"]["lr"]) == ("camvid", 0.05)
    profile = yaml.safe_load(run_nas("profile", "recipe=lgcnet_camvid", "--cfg", "job").out)
    assert (profile["deploy"], profile["num_classes"]) == (shape, 11)


def test_what_is_given_beside_a_recipe_counts(run_nas):
    words = ("recipe=lgcnet_camvid", "space=gas", "data=folder", "data.size=[48,64]", "search.epochs=7")
    settings = yaml.safe_load(run_nas("search", *words, "--cfg", "job").out)
    assert (settings["space"]["name"], settings["data"]["name"]) == ("gas", "folder")
    assert (settings["data"]["size"], settings["search"]["epochs"]) == ([48, 64], 7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "recipe=fasterseg"), "got 'fasterseg', which has no settings of this verb, expected one of demo,"),
        (("search", "latency.table=macs", "recipe=finetune_camvid"), "got 'finetune_camvid', which has no settings of this verb"),
        (("search", "latency.table=macs", "recipe=squeezenas_small"), "got 'squeezenas_small', expected one of demo, fasterseg,"),
        (("search", "-m", "latency.table=macs", "recipe=demo,nowhere"), "got 'nowhere', expected one of"),
    ],
)
def test_recipe_of_another_verb_and_unknown_recipe_are_refused(words, message, run_nas):
    outcome = run_nas(*words)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert f"recipe: {message}" in outcome.err


def test_recipe_of_the_users_own_folder(run_nas, tmp_path):
    (tmp_path / "mine" / "recipe").mkdir(parents=True)
    own = tmp_path / "mine" / "recipe" / "short.yaml"
    own.write_text("# @package _global_\ndefaults: [lgcnet_camvid, _self_]\nsearch: {epochs: 2}\ntrain: {epochs: 3}\n")
    for verb, epochs in (("search", 2), ("train", 3)):
        settings = yaml.safe_load(run_nas(verb, "--config-dir", "mine", "recipe=short", "--cfg", "job").out)
        assert (settings[verb]["epochs"], settings["data"]["size"]) == (epochs, [180, 240])
    own.write_text("finding: {epochs: 2}\n")
    outcome = run_nas("search", "--config-dir", "mine", "recipe=short", "latency.table=macs")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "short.yaml: finding: no verb has such a section" in outcome.err


@pytest.mark.parametrize(
    ("text", "message"),
    [("search: {epochs: 2}\nsearch: {epochs: 3}\n", "found duplicate key search"), ("search: {epochs: 2\n", "expected ',' or '}'")],
)
def test_recipe_that_is_no_good_yaml_is_refused_in_one_line(text, message, run_nas, tmp_path):
    (tmp_path / "mine" / "recipe").mkdir(parents=True)
    (tmp_path / "mine" / "recipe" / "short.yaml").write_text(text)
    outcome = run_nas("search", "--config-dir", "mine", "recipe=short", "latency.table=macs")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "short.yaml: " in outcome.err
    assert message in outcome.err


@pytest.mark.parametrize("place", ["short", "deep/short"])
def test_recipe_in_a_folder_of_its_own_or_on_the_search_path(place, run_nas, tmp_path):
    own = tmp_path / "mine" / "recipe" / f"{place}.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nsearch: {epochs: 2}\n")
    for where in (("--config-dir", "mine"), (f"hydra.searchpath=[file://{tmp_path / 'mine'}]",)):
        outcome = run_nas("search", *where, f"recipe={place}", "--cfg", "job")
        assert yaml.safe_load(outcome.out)["search"]["epochs"] == 2, outcome.err


def test_a_verb_takes_the_sections_groups_and_recipes_that_it_knows(tmp_path):
    (tmp_path / "recipe").mkdir()
    defaults = "defaults: [base, override /space: gas, override /data: camvid, _self_]\n"
    (tmp_path / "recipe" / "both.yaml").write_text(f"{defaults}num_classes: 3\nsearch: {{epochs: 2}}\ntrain: {{epochs: 3}}\n")
    (tmp_path / "recipe" / "base.yaml").write_text("search: {epochs: 1}\n")
    taken = {}
    for job in (SearchJob, TrainJob, ProfileJob):
        recipes = read_recipes([tmp_path], job.__dataclass_fields__, recipe_keys())
        taken[job] = recipes.configs["both"]
        assert recipes.others == (() if job is SearchJob else ("base",))
    assert taken == {
        SearchJob: {
            "defaults": ["base", {"override /space": "gas"}, {"override /data": "camvid"}, "_self_"],
            "search": {"epochs": 2},
        },
        TrainJob: {"defaults": [{"override /data": "camvid"}, "_self_"], "train": {"epochs": 3}},
        ProfileJob: {"defaults": [{"override /space": "gas"}, "_self_"], "num_classes": 3},
    }


def test_every_recipe_that_a_document_names_exists():
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / "experiments").rglob("*.*")]
    texts = [path.read_text() for path in pages if path.suffix in (".md", ".sh", ".py", ".yaml")]
    named = {name for text in texts for name in re.findall(r"\brecipe=([a-z]\w+)", text)} - {"experiments"}
    assert named - {path.stem for path in FILES} == set()
    assert named >= {"lgcnet_camvid", "squeezenas_camvid", "fasterseg_camvid", "lgcnet_ablations", "finetune_camvid", "demo"}
