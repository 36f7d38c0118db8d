import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from nas.config.jobs import ShowJob
from nas.config.settings import DeploySettings, LatencySettings
from nas.cost import Entry, LatencyTable, ProtocolInfo, RuntimeInfo, save_table
from nas.cost.frame_rate import in_words
from nas.cost.genotype_latency import predict
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, GenotypeError, TableError
from nas.network.build import build_network
from nas.network.network import Network
from nas.reports.network_summary import count_macs, count_parameters, log10_architectures
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype, save_genotype
from nas.stages.show import show
from nas.supernet.supernet import Supernet
from search_spaces import SEARCH_SPACES

ENTRY = SEARCH_SPACES["lgcnet"]
CONFIG = ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8)
SPACE = ENTRY.build(CONFIG)
DEPLOY = Deployment((61, 94), 4, 5)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_genotype(seed=0):
    choices = SPACE.random_choices(torch.Generator().manual_seed(seed))
    return Genotype("lgcnet", dataclasses.asdict(CONFIG), DEPLOY, choices, {"seed": 7, "table": None})


def measured_macs(genotype):
    """Products of all convolutions in a real forward pass of one image, from weights and hooked shapes."""
    network = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    counted = []

    def count(module, inputs, output):
        positions = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        counted.append(module.weight.numel() * positions.shape[2] * positions.shape[3])

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.randn(1, 3, *genotype.deploy.input))
    return sum(counted)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    save_genotype("run/genotype.yaml", random_genotype())
    return tmp_path


def table_of(name):
    specs = SPACE.plan(DEPLOY)
    return LatencyTable(
        device=DeviceInfo(name=name),
        runtime=RuntimeInfo.of(RuntimeName(backend="torch-eager"), version="2.13.0"),
        protocol=ProtocolInfo(warmup=1, rounds=1, calls="1", statistic="median", threads=1),
        measured_at="2026-01-01T00:00:00+00:00",
        entries={spec.key: Entry(0.1 + i, 0.1 + i, 0.1 + i, 1) for i, spec in enumerate(specs)},
    )


def table_rows(lines, header):
    """The rows of the table with a header: first cell -> further cells."""
    start = next(i for i, line in enumerate(lines) if line.split() == header.split())
    rows = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        first, *rest = line.split()
        rows[first] = [float(cell.replace(",", "").rstrip("%")) for cell in rest if re.fullmatch(r"[\d.,]+%?", cell)]
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_macs_equal_those_of_a_hooked_forward_pass(seed):
    genotype = random_genotype(seed)
    assert sum(count_macs(design_of(genotype, SEARCH_SPACES).graph).values()) == measured_macs(genotype)


@pytest.mark.parametrize("seed", range(2))
def test_parameters_equal_those_of_the_network_in_sum_and_by_part(seed):
    genotype = random_genotype(seed)
    network = build_network(design_of(genotype, SEARCH_SPACES))
    counts = count_parameters(design_of(genotype, SEARCH_SPACES).graph)
    assert sum(counts.values()) == sum(weight.numel() for weight in network.parameters())
    for part, count in counts.items():
        prefix = f"{part}."
        assert count == sum(weight.numel() for name, weight in network.named_parameters() if name.startswith(prefix)), part


def test_a_genotype_is_shown_with_parameters_macs_and_decisions(folder):
    genotype = random_genotype()
    lines = show(ShowJob(genotype="run"), SEARCH_SPACES).summary()
    rows = table_rows(lines, "part parameters MMACs")
    assert rows["total"][1] == pytest.approx(measured_macs(genotype) / 1e6, abs=0.005)
    assert rows["total"][0] == sum(weight.numel() for weight in build_network(design_of(genotype, SEARCH_SPACES)).parameters())
    assert sum(row[0] for part, row in rows.items() if part != "total") == rows["total"][0]
    histogram = table_rows(lines, "option decisions")
    chosen = list(genotype.choices.values())
    assert {option: row[0] for option, row in histogram.items()} == {option: chosen.count(option) for option in chosen}
    assert lines[lines.index("provenance") :] == ["provenance", "  seed  7"]
    assert not any(" ms" in line for line in lines)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("size", "classes"), [(None, 19), ((33, 50), None), ((96, 128), 3)])
def test_a_genotype_is_shown_for_another_size_and_other_classes(size, classes):
    genotype = random_genotype()
    deploy = dataclasses.replace(
        genotype.deploy, input=size or genotype.deploy.input, num_classes=classes or genotype.deploy.num_classes
    )
    settings = DeploySettings(input=None if size is None else list(size))
    lines = show(ShowJob(run="run", deploy=settings, num_classes=classes), SEARCH_SPACES).summary()
    height, width = deploy.input
    assert f"input {height}x{width}, {deploy.init_channels} initial channels, {deploy.num_classes} classes" in lines[0]
    shown = table_rows(lines, "part parameters MMACs")["total"][1]
    assert shown == pytest.approx(measured_macs(dataclasses.replace(genotype, deploy=deploy)) / 1e6, abs=0.005)


def test_milliseconds_of_each_part_are_those_of_predict(folder):
    table = table_of("some-board")
    save_table(table, folder / "t.json")
    lines = show(ShowJob(genotype="run", latency=LatencySettings(table="t.json")), SEARCH_SPACES).summary()
    latency = predict(design_of(random_genotype(), SEARCH_SPACES), table)
    rows = table_rows(lines, "part parameters MMACs ms share")
    assert rows["total"][2] == pytest.approx(latency.ms, abs=6e-4)
    for part, ms in latency.by_part.items():
        assert rows[part][2] == pytest.approx(ms, abs=6e-4)
        assert rows[part][3] == pytest.approx(100 * ms / latency.ms, abs=0.06)
    assert f", {latency.ms:.3f} ms, {in_words(1000 / latency.ms)} FPS on some-board/" in lines[1]
    assert any(line.startswith("energy: --, as the table holds that of 0 of ") for line in lines)
    entries = {key: dataclasses.replace(entry, energy_mj=entry.median_ms) for key, entry in table.entries.items()}
    save_table(dataclasses.replace(table, entries=entries), folder / "t.json")
    lines = show(ShowJob(genotype="run", latency=LatencySettings(table="t.json")), SEARCH_SPACES).summary()
    assert any(line.startswith(f"energy: {latency.ms:.3f} mJ for one image") for line in lines)


@pytest.mark.parametrize("name", ["p.png", "new/p.svg", "pictures"])
def test_a_picture_is_written_that_is_not_blank(folder, name):
    report = show(ShowJob(genotype="run", out=name), SEARCH_SPACES)
    assert report.picture is not None
    assert report.summary()[-1] == f"wrote {report.picture}"
    if report.picture.suffix == ".svg":
        assert report.picture.read_text().lstrip().startswith("<?xml")
        assert report.picture.read_text().count("<path") > 100
        return
    image = np.asarray(Image.open(report.picture).convert("RGB"))
    assert min(image.shape[:2]) > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 50
    assert 0.05 < (image != 255).any(axis=-1).mean() < 0.8


def test_a_space_is_shown_with_its_size_and_its_supernet(folder):
    job = ShowJob(space=CONFIG, deploy=DeploySettings(input=[61, 94], init_channels=4), num_classes=5, out="space.png")
    report = show(job, SEARCH_SPACES)
    text = "\n".join(report.summary())
    graph = SPACE.graph(Deployment((61, 94), 4, 5))
    supernet = Supernet(SPACE, Network(graph), None, generator=torch.Generator().manual_seed(0))
    weights, architecture = (
        sum(weight.numel() for weight in weights) for weights in (supernet.weight_parameters(), supernet.arch_parameters())
    )
    assert f"supernet: {weights:,} weights, {architecture:,} architecture parameters" in text
    assert f"28 decisions, 10^{math.log10(8**15 * 10**8 * 2**5):.1f} combinations" in text
    assert f"{len(graph.specs())} distinct operations" in text
    assert (folder / "space.png").stat().st_size > 10_000


def test_the_number_of_architectures_is_the_product_of_the_options():
    # 3 cells of 5 edges with 8 options, and a fusion cell of 8 operations with 10 options and 5 upsamplings with 2
    assert log10_architectures(SPACE) == pytest.approx(math.log10(8**15 * 10**8 * 2**5))


def test_a_space_without_a_given_input_is_shown_at_a_stated_one(folder):
    assert "at input 360x480" in show(ShowJob(space=CONFIG), SEARCH_SPACES).summary()[0]


def test_spaces_and_genotypes_are_listed(monkeypatch):
    assert show(ShowJob(list="spaces"), SEARCH_SPACES).summary()[0].startswith("lgcnet  ")
    monkeypatch.setattr("nas.stages.show.published_genotypes", dict)
    assert show(ShowJob(list="genotypes"), SEARCH_SPACES).summary() == ["no published genotypes yet"]


def test_tables_of_the_working_folder_and_the_user_are_listed_and_broken_ones_said(folder):
    table = table_of("here")
    save_table(table, folder / "latency_tables/here/torch-eager-fp32-b1-t1.json")
    save_table(table_of("mine"), folder / "data/segnas/latency_tables/mine/torch-eager-fp32-b1-t1.json")
    broken = folder / "latency_tables/broken/torch-eager-fp32-b1-t1.json"
    broken.parent.mkdir()
    broken.write_text("{")
    lines = show(ShowJob(list="tables"), SEARCH_SPACES).summary()
    for name in ("here", "mine"):
        line = next(line for line in lines if line.startswith(f"{name}/"))
        assert line.split() == [
            f"{name}/torch-eager-fp32-b1-t1",
            str(len(table.entries)),
            "2026-01-01T00:00:00+00:00",
            *"calls by wall (cuda-events on a GPU)".split(),
            "no",
        ]
    assert [line for line in lines if "cannot be read" in line and "broken" in line]


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (ShowJob(), ConfigError, "got nothing to show, expected exactly one of genotype=, run=, space=, list="),
        (ShowJob(genotype="run", list="spaces"), ConfigError, "got genotype and list to show"),
        (ShowJob(genotype="run", space=CONFIG), ConfigError, "got genotype and space to show"),
        (ShowJob(list="cells"), ConfigError, "list: got 'cells', expected one of spaces, genotypes, tables"),
        (ShowJob(genotype="run", run="run"), ConfigError, "got genotype and run to show"),
        (ShowJob(list="spaces", num_classes=3), ConfigError, "deploy, num_classes: got a value with list=spaces"),
        (ShowJob(list="spaces", out="x.png"), ConfigError, "out: got x.png with list=spaces"),
        (ShowJob(space={"name": "lgcnet"}), ConfigError, "space.name: got"),
        (ShowJob(genotype="nowhere"), GenotypeError, "nowhere"),
        (ShowJob(genotype="run", latency=LatencySettings(table="absent.json")), TableError, "absent.json"),
        (ShowJob(genotype="run", out="x.pdf"), ConfigError, "out: got x.pdf, expected a file ending in .png or .svg"),
        (ShowJob(genotype="run", out="run"), ConfigError, "out: the folder run is not empty"),
        (ShowJob(genotype="run", out="run/genotype.yaml/x.png"), ConfigError, "cannot be written"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_at_most_two_lines(folder, job, error, message):
    with pytest.raises(error) as caught:
        show(job, SEARCH_SPACES)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") <= 1
