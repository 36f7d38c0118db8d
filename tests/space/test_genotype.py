"""Genotypes as plain values, and their files: what is written, whole or not at all, and where it is found."""

import dataclasses

import pytest

from nas.errors import GenotypeError
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype, dump_genotype, find_genotype, save_genotype

CHOICES = {"first": "small", "second": "large"}


def genotype_with(choices=CHOICES, seed=0):
    return Genotype("two", {"name": "two"}, Deployment((64, 96), 4, 5), choices, {"seed": seed})


def test_the_file_says_what_it_is_and_has_one_line_a_decision():
    lines = dump_genotype(genotype_with()).splitlines()
    assert lines[0].startswith("# A genotype")
    for name, option in CHOICES.items():
        assert f"  {name}: {option}" in lines


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "genotype.yaml"
    save_genotype(path, genotype_with(seed=1))

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_genotype(path, genotype_with(seed=2))
    assert path.read_text() == dump_genotype(genotype_with(seed=1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["genotype.yaml"]


@pytest.mark.parametrize("name", ["", "nowhere.yaml", "x" * 5000, "a\0b", "/dev/null"])
def test_a_name_that_leads_nowhere_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GenotypeError) as caught:
        find_genotype(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_value_does_not_share_what_it_was_made_of():
    choices = dict(CHOICES)
    genotype = genotype_with(choices)
    choices.clear()
    assert genotype.choices == CHOICES
    with pytest.raises(dataclasses.FrozenInstanceError):
        genotype.space = "gas"


@pytest.mark.parametrize(
    ("given", "meant"), [("zoo/ddrnet", "zoo/ddrnet_23_slim"), ("zoo/fast_scn", "zoo/fast_scnn"), ("zoo/fastscnn", "zoo/fast_scnn")]
)
def test_a_name_that_does_not_exist_is_answered_by_one_that_begins_alike_or_is_near(given: str, meant: str) -> None:
    with pytest.raises(GenotypeError, match=f"did you mean {meant}[?]"):
        find_genotype(given)
