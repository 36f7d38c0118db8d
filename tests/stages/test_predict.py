import dataclasses
import json
import random
import re
import shlex
from collections import Counter

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from nas.config.jobs import PredictJob
from nas.config.settings import DeploySettings, LatencySettings
from nas.cost import Entry, LatencyTable, MacsTable, ProtocolInfo, RuntimeInfo, save_table
from nas.cost.frame_rate import in_words
from nas.cost.genotype_latency import predict
from nas.cost.profile_command import profile_command
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, GenotypeError, TableError
from nas.network.build import build_network
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype, save_genotype
from nas.stages.predict import predict_job
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
    return Genotype("lgcnet", dataclasses.asdict(CONFIG), DEPLOY, choices, {})


def table_without(absent=()):
    """A table with a random latency for each operation of the space except the absent keys."""
    rng = random.Random(0)
    specs = SPACE.plan(DEPLOY)
    costs = {spec.key: rng.uniform(0.1, 9.0) for spec in specs}
    return LatencyTable(
        device=DeviceInfo(name="some-board"),
        runtime=RuntimeInfo.of(RuntimeName(backend="torch-eager"), version="2.13.0"),
        protocol=ProtocolInfo(warmup=1, rounds=3, calls="1", statistic="median", threads=1),
        measured_at="2026-01-01T00:00:00+00:00",
        entries={key: Entry(ms, ms, ms, 3) for key, ms in costs.items() if key not in absent},
    )


def executed_keys(genotype):
    """Key of each operation that a real forward pass to the label map executes, with the shapes that hooks see."""
    network = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    keys = []
    nodes = {node.module: node for node in network.graph.nodes if node.role != "input"}

    def record(path):
        def hook(module, inputs, output):
            spec = nodes[path].spec
            incoming, outgoing = ("x".join(map(str, tensor.shape[1:])) for tensor in (inputs[0], output))
            rest = f"k={spec.kernel} s={spec.stride} d={spec.dilation} g={spec.groups}"
            times = len(inputs) - 1 if spec.kind == "add" else 1
            keys.extend([f"{spec.kind} in={incoming} out={outgoing} {rest}"] * times)

        return hook

    for path in nodes:
        network.get_submodule(path).register_forward_hook(record(path))
    with torch.no_grad():
        network.label_map(torch.randn(1, 3, *genotype.deploy.input))
    return keys


@pytest.mark.parametrize("seed", range(4))
def test_the_prediction_is_the_sum_over_the_operations_that_a_forward_pass_executes(seed):
    genotype, table = random_genotype(seed), table_without()
    latency = predict(design_of(genotype, SEARCH_SPACES), table)
    keys = executed_keys(genotype)
    assert latency.ms == pytest.approx(sum(table.entries[key].median_ms for key in keys), rel=1e-12)
    assert sum(latency.by_part.values()) == pytest.approx(latency.ms)
    assert (latency.low_ms, latency.high_ms) == (None, None)
    assert Counter(keys) == Counter(spec.key for _, spec in design_of(genotype, SEARCH_SPACES).graph.operations())


def test_a_dearer_stem_costs_in_the_part_stem_only():
    genotype, table = random_genotype(), table_without()
    before = predict(design_of(genotype, SEARCH_SPACES), table)
    key = next(key for key in table.entries if key.startswith("conv_bn_relu in=3x61x94 "))
    entries = {**table.entries, key: Entry(1000.0, 1000.0, 1000.0, 3)}
    after = predict(design_of(genotype, SEARCH_SPACES), dataclasses.replace(table, entries=entries))
    changed = {part for part, ms in after.by_part.items() if ms != before.by_part[part]}
    assert changed == {"stem"}
    assert after.ms - before.ms == pytest.approx(1000.0 - table.entries[key].median_ms)


def test_everything_that_a_table_lacks_is_named_with_a_command_that_measures_it():
    genotype = random_genotype()
    keys = sorted({spec.key for spec in design_of(genotype, SEARCH_SPACES).graph.specs()})
    absent = random.Random(0).sample(keys, 3)
    with pytest.raises(TableError) as caught:
        predict(design_of(genotype, SEARCH_SPACES), table_without(absent))
    message = str(caught.value)
    assert message.count("\n") == 1
    assert f"3 of {len(keys)} operations" in message
    assert all(key in message for key in absent)
    assert "nas profile device=some-board runtime=torch-eager-fp32-b1-t1 space=lgcnet " in message


def test_the_command_measures_into_the_very_table_that_was_named(tmp_path):
    design, table = design_of(random_genotype(), SEARCH_SPACES), table_without()
    file = tmp_path / "my table.json"
    command = profile_command(design.space.config, table, design.deployment, given=str(file))
    assert "out=" not in command
    file.write_text("{}")
    command = profile_command(design.space.config, table, design.deployment, given=str(file))
    (word,) = OverridesParser.create().parse_overrides([shlex.split(command)[-1]])
    assert (word.key_or_group, unquoted(word.value())) == ("out", str(file))
    with pytest.raises(TableError, match="out="):
        predict(design, table_without([next(iter(table.entries))]), given=str(file))


def unquoted(value):
    """An override's value as Hydra puts it into a config."""
    return [unquoted(item) for item in value] if isinstance(value, list) else getattr(value, "text", value)


def test_the_command_states_every_setting_of_the_genotype_so_that_hydra_reads_the_same_back():
    edges = [edge for edge in CONFIG.edges() if edge != "m4->f8 down"]
    config = dataclasses.replace(CONFIG, fusion_edges=edges, communication="none", gamma=0.25)
    choices = ENTRY.build(config).random_choices(torch.Generator().manual_seed(0))
    genotype = Genotype("lgcnet", dataclasses.asdict(config), DEPLOY, choices, {})
    words = shlex.split(profile_command(design_of(genotype, SEARCH_SPACES).space.config, table_without(), genotype.deploy))
    assert words[:2] == ["nas", "profile"]
    overrides = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words[2:])}
    assert overrides["deploy.input"] == [61, 94]
    assert (overrides["deploy.init_channels"], overrides["num_classes"]) == (4, 5)
    settings = {key.removeprefix("space."): unquoted(value) for key, value in overrides.items() if key.startswith("space.")}
    assert ENTRY.config(**settings) == config


def test_an_analytic_table_sums_in_its_own_unit():
    genotype = random_genotype()
    latency = predict(design_of(genotype, SEARCH_SPACES), MacsTable())
    total = 0

    def count(module, inputs, output):
        nonlocal total
        kernel = module.weight.shape[2] * module.weight.shape[3]
        pixels = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        total += module.weight.shape[0] * module.weight.shape[1] * kernel * pixels.shape[2] * pixels.shape[3]

    network = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.randn(1, 3, *DEPLOY.input))
    assert latency.ms == pytest.approx(total / 1e6)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_genotype("genotype.yaml", random_genotype())
    save_table(table_without(), tmp_path / "table.json")
    return PredictJob(genotype="genotype.yaml", latency=LatencySettings(table="table.json"))


def test_the_report_states_unit_total_every_part_and_that_bounds_are_unknown(job):
    report = predict_job(job, SEARCH_SPACES)
    lines = report.summary()
    assert f"{report.latency.ms:.3f} ms, {in_words(1000 / report.latency.ms)} FPS, lgcnet" in lines[0]
    assert "some-board/torch-eager-fp32-b1-t1" in lines[0]
    assert "not known until the table is calibrated" in lines[1]
    assert lines[2] == "times of the table: calls by wall (cuda-events on a GPU)"
    assert lines[3].startswith("energy: --, as the table holds that of 0 of ")
    assert lines.pop() == "next, on some-board: nas bench networks=genotype.yaml runtime=torch-eager-fp32-b1-t1"
    rows = {line.split()[0]: float(line.split()[1]) for line in lines[5:]}
    assert list(rows) == [*report.latency.by_part, "total"]
    assert all(rows[part] == pytest.approx(ms, abs=5e-4) for part, ms in report.latency.by_part.items())
    shares = [float(re.search(r"([\d.]+)%$", line)[1]) for line in lines[5:-1]]
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(shares))
    assert len({len(line) for line in lines[4:]}) == 1


def test_energy_of_an_image_is_told_by_part_and_written(job, tmp_path):
    table = table_without()
    entries = {key: dataclasses.replace(entry, energy_mj=2 * entry.median_ms) for key, entry in table.entries.items()}
    system = {"power source": "RAPL of 1 package", "idle power": "3.00 W"}
    save_table(dataclasses.replace(table, entries=entries, system=system), tmp_path / "table.json")
    report = predict_job(dataclasses.replace(job, out="new"), SEARCH_SPACES)
    lines = report.summary()
    assert lines[3].startswith(f"energy: {2 * report.latency.ms:.3f} mJ for one image, not calibrated: the sum over operations")
    assert lines[4].split() == ["part", "ms", "mJ", "share"]
    rows = {line.split()[0]: line.split()[1:3] for line in lines[5:-2]}
    assert list(rows) == [*report.latency.by_part, "total"]
    assert all(float(mj) == pytest.approx(2 * float(ms), abs=2e-3) for ms, mj in rows.values())
    written = json.loads((tmp_path / "new/predict.json").read_text())["energy"]
    assert written["mj"] == pytest.approx(2 * report.latency.ms)
    assert written["by_part"] == pytest.approx({part: 2 * ms for part, ms in report.latency.by_part.items()})
    assert (written["source"], written["idle_power"], written["idle_included"]) == ("RAPL of 1 package", "3.00 W", True)
    assert 0 < written["operations"] <= report.operations


def test_the_same_prediction_is_written_where_a_folder_is_given(job, tmp_path):
    report = predict_job(dataclasses.replace(job, out="new/folder"), SEARCH_SPACES)
    written = json.loads((tmp_path / "new/folder/predict.json").read_text())
    assert written["latency"] == report.latency.ms
    assert written["by_part"] == report.latency.by_part
    assert (written["unit"], written["low"], written["high"]) == ("ms", None, None)
    assert (written["fps"], written["fps_low"], written["fps_high"]) == (1000 / report.latency.ms, None, None)
    assert written["energy"] is None
    assert written["times"] == "calls by wall (cuda-events on a GPU)"
    assert written["deploy"] == {"input": [61, 94], "init_channels": 4, "num_classes": 5}
    assert "predict.json" in report.summary()[-2]
    with pytest.raises(ConfigError, match="not empty"):
        predict_job(dataclasses.replace(job, out="new/folder"), SEARCH_SPACES)


@pytest.mark.parametrize(("size", "classes"), [(None, 19), ((33, 50), None), ((96, 128), 3)])
def test_another_size_and_other_classes_are_predicted_and_stated(job, size, classes):
    genotype = random_genotype()
    deploy = Deployment(size or DEPLOY.input, DEPLOY.init_channels, classes or DEPLOY.num_classes)
    settings = DeploySettings(input=None if size is None else list(size))
    changed = dataclasses.replace(job, latency=LatencySettings(table="macs"), deploy=settings, num_classes=classes)
    report = predict_job(changed, SEARCH_SPACES)
    asked = dataclasses.replace(genotype, deploy=deploy)
    assert report.latency.ms == predict(design_of(asked, SEARCH_SPACES), MacsTable()).ms
    assert report.latency.ms != predict(design_of(genotype, SEARCH_SPACES), MacsTable()).ms
    height, width = deploy.input
    assert f"lgcnet at {height}x{width}, {deploy.num_classes} classes, " in report.summary()[0]
    assert report.as_json()["deploy"]["num_classes"] == deploy.num_classes


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"genotype": None}, ConfigError, "got neither genotype= nor run=, expected one of them"),
        ({"run": "x"}, ConfigError, "got both genotype= and run=, expected one of them"),
        ({"latency": LatencySettings(table="none")}, ConfigError, r"latency\.table: got none"),
        ({"latency": LatencySettings(table="absent.json")}, TableError, "absent.json"),
        ({"genotype": "absent.yaml"}, GenotypeError, "absent.yaml"),
    ],
)
def test_what_is_not_there_is_refused(job, change, error, message):
    with pytest.raises(error, match=message):
        predict_job(dataclasses.replace(job, **change), SEARCH_SPACES)
