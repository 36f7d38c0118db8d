"""What is read off a search and a genotype: derive, predict, show, report, and the public functions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import nas
from tests.golden import records
from tests.golden.records import digest, run_in, stable, words
from tests.golden.small import CPU, DATA, SEARCH, SPACES
from tests.golden.stored import FOLDER

BEFORE = FOLDER / "before"
GENOTYPES = sorted((BEFORE / "genotypes").glob("*.yaml"))
PUBLISHED = ("squeezenas/lat_small", "squeezenas/mac_xlarge", "fasterseg/student")
DERIVATIONS = {
    "most probable": (),
    "drawn": ("sample=3",),
    "best checkpoint": ("checkpoint=best",),
    "within a target": ("target_ms=0.11",),
    "front": ("targets=[0.11,0.12,0.2]",),
    "another table": ("table=macs",),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """A folder with a table, and a search by it in `run`."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copy(BEFORE / "table.json", folder / "table.json")
    settings = ("latency.table=table.json", "search.arch_lr=0.1", *SPACES["lgcnet"])
    run_in(folder, "search", *words(DATA, CPU, SEARCH, settings), "out=run")
    return folder


@pytest.mark.parametrize("case", DERIVATIONS)
def test_derivation_gives_the_same_genotypes(golden, searched, case):
    out = case.replace(" ", "_")
    printed = run_in(searched, "derive", "run=run", *DERIVATIONS[case], f"out={out}")
    front = searched / out / "front.json"
    found = {
        "genotypes": records.genotypes(searched / out),
        "front": json.loads(front.read_text(encoding="utf-8")) if front.is_file() else None,
        "files": records.files(searched / out),
        "printed": stable(printed).splitlines(),
    }
    golden(case, found)


def test_report_of_a_search_has_the_same_sections(golden, searched):
    run_in(searched, "report", "run=run", "out=report")
    golden("report", records.headings(searched / "report" / "report.html"))


@pytest.mark.parametrize("path", GENOTYPES, ids=[path.stem for path in GENOTYPES])
def test_network_of_a_genotype_has_the_same_tensors_and_logits(golden, path):
    genotype = nas.load_genotype(path)
    height, width = genotype.deploy.input
    golden(f"network {path.stem}", network(genotype, (height, width)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_network_has_the_same_tensors_and_logits(golden, name):
    golden(f"network {name}", network(nas.load_genotype(name), (64, 128)))


def network(genotype, size) -> dict:
    """The names and values of a fresh network's tensors, and its logits."""
    torch.manual_seed(0)
    built = nas.build(genotype)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        trained, evaluated = built.train()(images), built.eval()(images)
    return {
        "names": digest([[name, list(tensor.shape)] for name, tensor in built.state_dict().items()]).removeprefix("sha256:"),
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
        "tensors": digest(built.state_dict()),
        "logits": digest([trained, evaluated]),
        "means": [float(trained.double().mean()), float(evaluated.double().mean())],
    }


@pytest.mark.parametrize("name", ["lgcnet", "squeezenas_small"])
@pytest.mark.parametrize("table", ["table.json", "macs"])
def test_prediction_is_the_same(golden, golden_text, tmp_path, name, table):
    shutil.copy(BEFORE / "table.json", tmp_path / "table.json")
    shutil.copy(BEFORE / "genotypes" / f"{name}.yaml", tmp_path / f"{name}.yaml")
    printed = run_in(tmp_path, "predict", f"genotype={name}.yaml", f"latency.table={table}", "out=out")
    case = f"predict_{name}_{table.removesuffix('.json')}"
    golden_text(case, printed)
    golden(case, json.loads((tmp_path / "out" / "predict.json").read_text(encoding="utf-8")))


def test_predict_function_gives_the_same_bounds(golden):
    latency = nas.predict(nas.load_genotype(BEFORE / "genotypes" / "lgcnet.yaml"), nas.load_table(BEFORE / "table.json"))
    golden("predicted bounds", [latency.ms, latency.low_ms, latency.high_ms, dict(latency.by_part)])


@pytest.mark.parametrize("name", ["squeezenas/lat_small", "fasterseg/student"])
def test_published_genotype_is_shown_alike(golden_text, tmp_path, name):
    golden_text(f"show_{name.replace('/', '_')}", run_in(tmp_path, "show", f"genotype={name}"))


def test_genotype_is_shown_alike_with_a_table_and_as_the_same_pictures(golden, golden_text, tmp_path):
    shutil.copy(BEFORE / "table.json", tmp_path / "table.json")
    shutil.copy(BEFORE / "genotypes" / "lgcnet.yaml", tmp_path / "genotype.yaml")
    arguments = ("show", "genotype=genotype.yaml", "latency.table=table.json")
    golden_text("show_with_table", stable(run_in(tmp_path, *arguments, "out=picture.svg")))
    run_in(tmp_path, *arguments, "out=picture.png")
    golden("pictures", [records.vector_picture(tmp_path / "picture.svg"), records.picture(tmp_path / "picture.png")])


@pytest.mark.parametrize("space", SPACES)
def test_space_is_shown_alike(golden_text, tmp_path, space):
    small = [word for word in SPACES[space] if word.startswith(("space", "deploy"))]
    golden_text(f"show_space_{space}", run_in(tmp_path, "show", *small, "deploy.input=[64,96]", "num_classes=5"))


def test_spaces_and_genotypes_have_the_same_names(golden, golden_text, tmp_path):
    golden_text("show_list_spaces", run_in(tmp_path, "show", "list=spaces"))
    listed = [line.split()[0] for line in run_in(tmp_path, "show", "list=genotypes").splitlines() if "/" in line.split()[0]]
    searched = [
        name for name in nas.list_genotypes() if not name.startswith("zoo/")
    ]  # its names: tests/search_spaces/zoo/facts.csv
    golden("names", {"public": sorted(nas.__all__), "spaces": nas.list_spaces(), "genotypes": searched})
    assert listed == nas.list_genotypes()


@pytest.mark.parametrize("space", SPACES)
def test_decisions_of_a_space_are_the_same(golden, space):
    choices = nas.build_space(nas.space_config({"name": space})).choices()
    plain = [[c.name, list(c.options), c.group, c.row, c.relaxation] for c in choices]
    golden(f"decisions {space}", [len(plain), digest(plain).removeprefix("sha256:")])
