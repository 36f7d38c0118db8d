"""The genotype that a training states: its own size and classes, and latencies of its own network alone."""

from __future__ import annotations

import dataclasses

import pytest

from nas.runs.trained_genotype import trained_genotype
from nas.space.design import parse_design
from nas.space.genotype import dump_genotype
from search_spaces import SEARCH_SPACES
from tests.small_jobs import random_genotype

FACTS = {
    "table": "a/b",
    "cost_unit": "ms",
    "expected_latency": 2.5,
    "target_latency": 3.0,
    "table_2": "macs",
    "expected_latency_2": 9,
}
CLASSES = [f"class {index}" for index in range(11)]


@pytest.fixture
def searched(tmp_path):
    genotype = random_genotype(tmp_path / "genotype.yaml")
    return dataclasses.replace(genotype, provenance={"seed": 3, "data": "camvid", **FACTS, "commit": "abc"})


def test_latencies_stay_where_the_network_is_the_one_that_was_searched(searched):
    genotype = trained_genotype(searched, size=(48, 64), classes=CLASSES, data="folder")
    assert genotype.deploy == searched.deploy
    assert genotype.provenance == {**searched.provenance, "trained_on": "folder", "classes": CLASSES}


@pytest.mark.parametrize(("size", "classes"), [((48, 65), CLASSES), ((48, 64), CLASSES[:3])])
def test_latencies_of_another_network_are_kept_apart(searched, size, classes):
    genotype = trained_genotype(searched, size=size, classes=classes, data="folder")
    assert (genotype.deploy.input, genotype.deploy.num_classes, genotype.deploy.init_channels) == (size, len(classes), 4)
    assert genotype.provenance == {
        "seed": 3,
        "data": "camvid",
        "commit": "abc",
        "searched_for": {"input": [48, 64], "num_classes": 11, **FACTS},
        "trained_on": "folder",
        "classes": classes,
    }
    assert parse_design(dump_genotype(genotype), SEARCH_SPACES, "text").genotype == genotype
    again = trained_genotype(genotype, size=(24, 32), classes=["a", "b"], data="camvid")
    assert again.provenance["searched_for"] == genotype.provenance["searched_for"]
    assert again.provenance["classes"] == ["a", "b"]


def test_a_search_without_a_table_has_nothing_to_keep_apart(searched):
    bare = dataclasses.replace(searched, provenance={"seed": 0, "table": None, "cost_unit": None, "expected_latency": None})
    genotype = trained_genotype(bare, size=(24, 32), classes=["a"], data="folder")
    assert "searched_for" not in genotype.provenance
