"""Weights under official names, and the stages on the published FasterSeg networks: export, predict, show, train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import nas
from nas.config.settings import ExportSettings
from nas.errors import CheckpointError
from nas.exporting import onnx_check
from nas.exporting.folding import batch_norms, fold_batch_norms
from nas.exporting.onnx_graph import node_counts
from nas.network.image_classifier import build_image_classifier
from nas.network.trained_network import trained_network
from nas.runs.checkpoint import save_weights
from nas.space.deployment import Deployment
from nas.space.design import design_of, load_design
from nas.space.genotype import save_genotype
from nas.stages.export import onnx_model
from search_spaces import all_spaces
from tests.fasterseg_reference import NETWORKS, Reference
from tests.random_weights import as_if_trained
from tests.small_jobs import train_job

STUDENT = "fasterseg/student"
ATTENTION = [f"ffm.channel_attention.{i}.conv.weight" for i in (1, 2)]


def reference_of(name: str) -> Reference:
    torch.manual_seed(0)
    return as_if_trained(Reference(nas.load_genotype(name)))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The student's weights under official names."""
    return dict(reference_of(STUDENT).state_dict())


def test_names_are_those_of_the_official_modules(state):
    assert {key.split(".")[0] for key in state} == {
        "stem", "cells", "arms32", "refines32", "arms16", "refines16", "ffm", "heads8", "heads16", "heads32"
    }  # fmt: skip
    network = nas.build(nas.load_genotype(STUDENT))
    assert set(nas.import_weights(STUDENT, state)) == set(network.state_dict())
    for ours, theirs in {
        "stem.0.bn.weight": "stem.0.conv.1.weight",
        "stem.2.second.conv.weight": "stem.2.conv2.weight",
        "cells.2.first.conv.weight": "cells.2-0._op._op.conv1.weight",
        "cells16.8.second.bn.running_var": "cells.8-1._op._op.bn2.running_var",
        "arms32.1.conv.weight": "arms32.1.conv.0.weight",
        "refines16.conv.bn.bias": "refines16.conv.1.bias",
        "ffm.conv.bn.running_mean": "ffm.conv_1x1.bn.running_mean",
        "ffm.attention.2.conv.weight": "ffm.channel_attention.2.conv.weight",
        "heads16.conv.conv.weight": "heads16.conv_3x3.conv.weight",
        "heads8.classifier.conv.bias": "heads8.conv_1x1.bias",
    }.items():
        assert torch.equal(nas.import_weights(STUDENT, state)[ours], state[theirs])


def copies_in(state: dict[str, Tensor]) -> list[str]:
    """The tensors of the student's shared cells that repeat others."""
    copies = [key for key in state if key.startswith(("cells.0-1.", "cells.1-1.", "cells.2-1."))]
    assert len(copies) == 3 * 2 * 6
    return copies


def corrected_student(folder: Path) -> str:
    """File of the student with space.fidelity=corrected."""
    genotype = nas.load_genotype(STUDENT)
    genotype.space_config["fidelity"] = "corrected"
    save_genotype(folder / "corrected.yaml", genotype)
    return str(folder / "corrected.yaml")


def test_copies_of_shared_cells_may_be_there_or_not(state):
    least = {key: value for key, value in state.items() if key not in copies_in(state)}
    ours = nas.import_weights(STUDENT, least)
    assert all(torch.equal(value, ours[key]) for key, value in nas.import_weights(STUDENT, state).items())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_official_weights_with_the_attention_come_back_under_their_names(name):
    state = reference_of(f"fasterseg/{name}").state_dict()
    genotype = nas.load_genotype(f"fasterseg/{name}")
    network = nas.build(genotype)
    network.load_state_dict(nas.import_weights(f"fasterseg/{name}", state))
    space = design_of(genotype, all_spaces()).space
    graph = space.graph(Deployment(genotype.deploy.input, 12, 19), genotype.choices)
    back = {theirs: network.state_dict()[ours] for ours, (theirs,) in space.official_keys(graph).items()}
    back |= {copy: back[original] for copy, original in space.official_extras(graph).items()}
    assert back.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in back.items())
    assert sum(state[key].numel() for key in ATTENTION) == NETWORKS[name][1]


def test_corrected_the_attention_has_no_place_and_may_be_there_or_not(state, tmp_path):
    name = corrected_student(tmp_path)
    assert not any("attention" in key for key in nas.build(nas.load_genotype(name)).state_dict())
    ours, official = nas.import_weights(name, state), nas.import_weights(STUDENT, state)
    assert ours.keys() == official.keys() - {"ffm.attention.1.conv.weight", "ffm.attention.2.conv.weight"}
    assert all(torch.equal(value, official[key]) for key, value in ours.items())
    without = nas.import_weights(name, {key: value for key, value in state.items() if key not in ATTENTION})
    assert without.keys() == ours.keys()


def test_both_fidelities_run_deploy_and_predict_the_same_network(state, tmp_path):
    names = {"official": STUDENT, "corrected": corrected_student(tmp_path)}
    graphs = {one: load_design(name, all_spaces()).graph for one, name in names.items()}
    assert set(graphs["official"].idle) == {"ffm.attention.1", "ffm.attention.2"}
    assert graphs["corrected"].idle == graphs["official"].deployed().idle == {}
    assert graphs["official"].deployed() == graphs["corrected"].deployed()
    assert graphs["official"].operations() == graphs["corrected"].operations()
    images, outputs = torch.randn(1, 3, 64, 96), []
    for name in names.values():
        network = nas.build(nas.load_genotype(name)).eval()
        network.load_state_dict(nas.import_weights(name, state))
        with torch.no_grad():
            outputs.append(network(images))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("heads32.conv_1x1.bias", r"missing heads32\.conv_1x1\.bias"),
        ("cells.3-1._op._op.conv1.weight", r"missing cells\.3-1\._op\._op\.conv1\.weight"),
        ("ffm.channel_attention.2.conv.weight", r"missing ffm\.channel_attention\.2\.conv\.weight"),
    ],
)
def test_a_missing_tensor_is_named(state, key, message):
    with pytest.raises(CheckpointError, match=message):
        nas.import_weights(STUDENT, {name: value for name, value in state.items() if name != key})


def test_what_is_left_over_of_another_shape_or_no_copy_is_named(state):
    with pytest.raises(CheckpointError, match=r"left over ffm\.channel_attention\.3\.conv\.weight"):
        nas.import_weights(STUDENT, {**state, "ffm.channel_attention.3.conv.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"left over cells\.3-2\._op\._op\.conv1\.weight"):
        nas.import_weights(STUDENT, {**state, "cells.3-2._op._op.conv1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"arms16\.conv\.0\.weight has shape \[1\], expected \[64, 128, 1, 1\]"):
        nas.import_weights(STUDENT, {**state, "arms16.conv.0.weight": torch.zeros(1)})
    copy = "cells.1-1._op._op.bn1.bias"
    with pytest.raises(CheckpointError, match=r"cells\.1-1\._op\._op\.bn1\.bias differs from cells\.1-0\._op\._op\.bn1\.bias"):
        nas.import_weights(STUDENT, {**state, copy: state[copy] + 1})


def test_weights_of_the_teacher_are_refused_for_the_student():
    with pytest.raises(CheckpointError, match=r"missing .*; left over"):
        nas.import_weights(STUDENT, reference_of("fasterseg/teacher").state_dict())


@pytest.mark.parametrize("seed", range(3))
def test_random_architectures_have_official_names_too(seed, tmp_path):
    genotype = nas.load_genotype(STUDENT)
    space = design_of(genotype, all_spaces()).space
    genotype.choices.update(space.random_choices(torch.Generator().manual_seed(seed)))
    save_genotype(tmp_path / "drawn.yaml", genotype)
    name = str(tmp_path / "drawn.yaml")
    reference = reference_of(name)
    network = nas.build(nas.load_genotype(name)).eval()
    network.load_state_dict(nas.import_weights(name, reference.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for one, other in zip(reference(images), network.forward_with_aux(images).values(), strict=True):
            assert float((one - other).abs().max()) < 1e-4 * float(one.abs().max())


def test_a_file_with_official_names_is_told_by_them(state, tmp_path):
    genotype = load_design(STUDENT, all_spaces()).genotype
    save_weights(tmp_path / "official.safetensors", {key: value.clone() for key, value in state.items()})
    network, num_classes = trained_network(design_of(genotype, all_spaces()), Path(tmp_path / "official.safetensors"))
    assert num_classes == 19
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = reference_of(STUDENT)(images)[0]
        assert float((network(images) - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("key", ["weights", "encoder_weights"])
def test_a_training_on_other_classes_starts_from_official_weights(state, key, tmp_path):
    save_weights(tmp_path / "official.safetensors", {name: value.clone() for name, value in state.items()})
    changes = {key: str(tmp_path / "official.safetensors"), "train__max_steps": 1, "train__lr": 0.0}
    result = nas.train(train_job(STUDENT, tmp_path / "run", **changes))
    network, num_classes = trained_network(load_design(STUDENT, all_spaces()), result.out / "weights.safetensors")
    assert num_classes == 11
    assert torch.equal(network.get_submodule("cells16.5.first.conv").weight, state["cells.5-1._op._op.conv1.weight"])
    assert network.get_submodule("heads32.classifier.conv").weight.shape == (11, 256, 1, 1)
    kept = torch.equal(network.get_submodule("heads32.conv.conv").weight, state["heads32.conv_3x3.conv.weight"])
    assert kept == (key == "weights")  # an encoder is what the classifier reads that is deployed


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "student" else pytest.mark.slow) for name in NETWORKS])
def test_onnx_computes_what_a_published_network_computes_without_auxiliary_heads(name):
    torch.manual_seed(0)
    network = as_if_trained(nas.build(nas.load_genotype(f"fasterseg/{name}")))
    for size in ((64, 96), (51, 69)):
        model = onnx_model(network, size, ExportSettings())
        found = onnx_check.compare(model, network, size=size, precision="fp32", output="logits")
        assert found.passed, found
        assert "BatchNormalization" not in node_counts(model)
        weights = sum(tensor.ByteSize() for tensor in model.graph.initializer)
        everything, unused, auxiliary, _ = NETWORKS[name]
        assert weights < 4.05 * (everything - unused - auxiliary)


def test_batch_norms_of_zoomed_operators_fold():
    network = as_if_trained(nas.build(nas.load_genotype(STUDENT)))
    folded = fold_batch_norms(network)
    assert batch_norms(network) > batch_norms(folded) == 0
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(images)
        assert float((folded(images) - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_published_genotypes_are_listed_shown_and_predicted(run_nas):
    assert [name for name in nas.list_genotypes() if name.startswith("fasterseg/")] == [
        f"fasterseg/{one}" for one in sorted(NETWORKS)
    ]
    shown = run_nas("show", f"genotype={STUDENT}", "out=picture.svg")
    assert shown.status == 0, shown.err
    assert "3,421,875 parameters and 931,046 of auxiliary heads, 27.770 GMACs" in shown.out
    assert "\nbeside these 32,768 parameters that nothing runs, as the published checkpoints have them\n" in shown.out
    predicted = run_nas("predict", f"genotype={STUDENT}", "latency.table=macs")
    assert predicted.status == 0, predicted.err
    assert "27770.487 MMACs, fasterseg at 1024x2048" in predicted.out


def test_what_the_classifier_reads_can_be_pretrained_on_images():
    classifier = build_image_classifier(load_design(STUDENT, all_spaces()), 10)
    assert classifier(torch.randn(2, 3, 33, 47)).shape == (2, 10)
    assert classifier.classifier.in_features == 128
    assert not any(key.startswith(("encoder.heads16", "encoder.heads32")) for key in classifier.state_dict())
