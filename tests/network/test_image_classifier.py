"""The network of a pretraining: what is cut off the derived one, names that stay, pooling and the linear layer."""

from __future__ import annotations

import pytest
import torch

import nas
from nas.network.build import build_network
from nas.network.image_classifier import ENCODER, HEAD, ImageClassifier, build_image_classifier, encoder_graph
from nas.network.network import Network
from nas.space.deployment import Deployment
from nas.space.design import Design, design_of
from nas.space.genotype import Genotype
from nas.space.graph import NetworkBuilder, map_spec
from search_spaces import SEARCH_SPACES
from tests.search_spaces.zoo.zoo_networks import small
from tests.small_jobs import random_genotype

IMAGES = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def genotype(tmp_path_factory):
    return random_genotype(tmp_path_factory.mktemp("genotype") / "genotype.yaml", seed=2)


def test_encoder_has_all_modules_of_the_network_but_its_classifier_under_their_names(genotype):
    network, pretrained = (
        build_network(design_of(genotype, SEARCH_SPACES)),
        build_image_classifier(design_of(genotype, SEARCH_SPACES), 7),
    )
    wanted = {f"{ENCODER}{name}": value.shape for name, value in network.state_dict().items() if not name.startswith("classifier.")}
    got = {name: value.shape for name, value in pretrained.state_dict().items()}
    assert {name: shape for name, shape in got.items() if name not in HEAD} == wanted
    assert HEAD < got.keys()
    assert got["classifier.weight"][0] == 7


def test_logits_are_linear_in_the_mean_of_what_the_segmentations_classifier_reads(genotype):
    torch.manual_seed(0)
    network = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    pretrained = build_image_classifier(design_of(genotype, SEARCH_SPACES), 7).eval()
    weights = {f"{ENCODER}{name}": value for name, value in network.state_dict().items() if not name.startswith("classifier.")}
    pretrained.load_state_dict({**pretrained.state_dict(), **weights})
    read = []
    network.classifier.conv.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.no_grad():
        network(IMAGES)
        logits = pretrained(IMAGES)
        head = pretrained.classifier
        expected = read[0].flatten(2).mean(dim=2) @ head.weight.T + head.bias
    assert logits.shape == (2, 7)
    torch.testing.assert_close(logits, expected)


def test_every_space_gives_an_encoder_without_a_classifier():
    for name, entry in SEARCH_SPACES.items():
        space = entry.build(entry.config())
        choices = space.random_choices(torch.Generator().manual_seed(0))
        design = Design(Genotype(name, {}, Deployment((64, 96), 8, 11), choices), space)
        whole, encoder = design.graph, encoder_graph(design.graph, design.class_modules)
        kinds = {node.spec.kind for node in encoder.nodes if node.role == "op"}
        assert not kinds & {"classifier", "argmax"}, name
        by_name = {node.name: node for node in whole.nodes}
        for node in encoder.nodes:
            twin = by_name[node.name]
            assert (node.module, node.specs) == (twin.module, twin.specs)
            assert [encoder.nodes[i].name for i in node.inputs] == [whole.nodes[i].name for i in twin.inputs]
        assert ImageClassifier(encoder, 4)(IMAGES[:, :, :32, :32]).shape == (2, 4)


def described():
    """Image -> two maps of 4 and 6 channels -> a classifier each, their sum -> logits and labels."""
    builder = NetworkBuilder((16, 16), {}, decided={})
    image = builder.image()
    maps = [builder.op(f"body.{i}", map_spec("conv_bn_relu", image, image, width), image) for i, width in enumerate((4, 6))]
    scores = [builder.op(f"head.{i}", map_spec("relu_conv_bn", value, value, 5), value) for i, value in enumerate(maps)]
    auxiliary = builder.op("aux", map_spec("classifier", maps[0], maps[0], 5), maps[0])
    logits = builder.add("sum", scores)
    labels = builder.op("labels", map_spec("argmax", logits, logits, 1), logits)
    return builder.finish(logits=logits, labels=labels, auxiliary=auxiliary)


def test_maps_of_several_classifiers_are_pooled_side_by_side():
    graph = described()
    torch.manual_seed(0)
    pretrained = ImageClassifier(encoder_graph(graph, {"head.0", "head.1", "aux"}), 3).eval()
    assert sorted({name.split(".")[0] for name in pretrained.encoder.state_dict()}) == ["body"]
    assert pretrained.classifier.in_features == 4 + 6
    network = Network(graph).eval()
    network.load_state_dict({**network.state_dict(), **pretrained.encoder.state_dict()})
    with torch.no_grad():
        body = network.body
        pooled = torch.cat([getattr(body, str(i))(IMAGES).flatten(2).mean(dim=2) for i in (0, 1)], dim=1)
        torch.testing.assert_close(pretrained(IMAGES), pretrained.classifier(pooled))


def test_what_a_transposed_classifier_reads_for_its_size_alone_is_not_pooled():
    design = small("erfnet", size=(32, 48))
    pretrained = build_image_classifier(design, 4)
    assert pretrained.classifier.in_features == 16
    assert len(pretrained.encoder.state_dict()) == len(build_network(design).state_dict()) - 2


def test_segmentation_of_the_genotype_is_untouched(genotype):
    design = design_of(genotype, SEARCH_SPACES)
    encoder_graph(design.graph, design.class_modules)
    assert design.graph == design_of(genotype, SEARCH_SPACES).graph
    assert nas.build(genotype)(IMAGES).shape == (2, 11, 33, 47)
