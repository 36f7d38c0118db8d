import dataclasses
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from nas.ops.candidates import CANDIDATE_OPS
from nas.reports.plots import OP_COLOURS, draw_genotype, draw_space
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype
from search_spaces import SEARCH_SPACES
from tests.search_spaces.zoo.zoo_networks import published

ENTRY = SEARCH_SPACES["lgcnet"]
CONFIG = ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8)
SPACE = ENTRY.build(CONFIG)


def genotype_of(choices):
    return Genotype("lgcnet", dataclasses.asdict(CONFIG), Deployment((90, 120), 8, 11), choices)


def random_choices(seed=0):
    return SPACE.random_choices(torch.Generator().manual_seed(seed))


def drawn(genotype, **options):
    return draw_genotype(genotype, design_of(genotype, SEARCH_SPACES).graph, **options)


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))


def num_pixels(image, colour):
    wanted = np.round(np.array(to_rgb(colour)) * 255)
    return int((np.abs(image.astype(float) - wanted).max(axis=-1) <= 2).sum())


def legend_counts(figure):
    legend = figure.axes[0].get_legend()
    rows = [text.get_text().split("  ×") for text in legend.get_texts()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}


@pytest.mark.parametrize("seed", range(2))
def test_a_picture_shows_every_chosen_operation_in_its_colour(seed):
    choices = random_choices(seed)
    figure = drawn(genotype_of(choices))
    image = pixels(figure)
    assert 0.05 < (image != 255).any(axis=-1).mean() < 0.7
    shown = legend_counts(figure)
    assert set(shown) <= set(choices.values())
    for label in shown:
        assert num_pixels(image, OP_COLOURS[label]) > 100, label
    for label in set(OP_COLOURS) - set(shown) - {"none"}:
        assert num_pixels(image, OP_COLOURS[label]) < 40, label


def test_every_operation_that_the_network_executes_for_a_decision_is_counted_in_the_legend():
    choices = {name: options[0] if "conv_3x3" not in options else "conv_3x3" for name, options in SPACE.genotype_choices().items()}
    shown = legend_counts(drawn(genotype_of(choices)))
    assert shown == {"conv_3x3": 15 + 8, "transposed_conv": 5}


def test_skip_connections_are_drawn_though_the_derived_graph_has_no_node_for_them():
    choices = {name: "conv_3x3" if "conv_3x3" in options else options[0] for name, options in SPACE.genotype_choices().items()}
    choices["cells.0.edge.1"] = choices["cells.0.edge.4"] = "skip_connect"
    assert legend_counts(drawn(genotype_of(choices)))["skip_connect"] == 2


def test_bars_are_as_high_as_the_milliseconds_of_each_part():
    genotype = genotype_of(random_choices())
    parts_ms = {"stem": 1.5, "cells.0": 0.25, "cells.1": 3.0, "fusion": 2.0}
    without, with_bars = drawn(genotype), drawn(genotype, parts_ms=parts_ms)
    assert len(without.axes) == 1
    bars = with_bars.axes[1].patches
    assert [bar.get_height() for bar in bars] == list(parts_ms.values())
    assert [label.get_text() for label in with_bars.axes[1].get_xticklabels()] == ["stem", "cell 0", "cell 1", "fusion"]
    assert any("6.75 ms" in text.get_text() for text in with_bars.axes[0].texts)
    assert with_bars.get_figheight() > without.get_figheight()


def test_a_space_is_drawn_with_all_its_candidates():
    figure = draw_space(SPACE.graph(Deployment((90, 120), 8, 11)), title="lgcnet")
    offered = [option for options in SPACE.genotype_choices().values() for option in options]
    assert legend_counts(figure) == {option: offered.count(option) for option in offered}
    image = pixels(figure)
    for option in ("conv_3x3", "sep_conv_3x3", "dil_sep_conv_3x3_d8", "interpolate", "max_pool_3x3"):
        assert num_pixels(image, OP_COLOURS[option]) > 100, option


def test_texts_of_one_picture_stay_in_it_and_an_svg_of_it_is_well_formed():
    figure = drawn(genotype_of(random_choices()), parts_ms={"stem": 1.0, "cells.0": 2.0})
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    root = ET.fromstring(buffer.getvalue().decode())
    assert root.tag.endswith("svg")
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        for text in [*axes.texts, *axes.get_legend().get_texts()] if axes.get_legend() else axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.y0 >= 0, text.get_text()
            assert box.x1 <= width, text.get_text()
            assert box.y1 <= height, text.get_text()


def test_drawing_leaves_no_figure_behind_in_pyplot():
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    drawn(genotype_of(random_choices()))
    assert plt.get_fignums() == before


def test_every_candidate_has_a_colour_of_its_own():
    assert set(CANDIDATE_OPS) <= set(OP_COLOURS)
    assert len(set(OP_COLOURS.values())) == len(OP_COLOURS)


@pytest.mark.parametrize("name", ["fast_scnn", "shelfnet18", "ldn121"])
def test_a_hand_made_network_has_its_title_no_legend_and_labels_within_their_boxes(name):
    design = published(name)
    figure = draw_genotype(design.genotype, design.graph)
    figure.canvas.draw()
    (axes,) = figure.axes
    title, facts, *labels = axes.texts
    assert title.get_text() == design.genotype.provenance["title"]
    assert facts.get_text().startswith("input 1024×2048   ")
    assert axes.get_legend() is None
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    for label in labels:
        text = label.get_window_extent()
        assert any(b.x0 <= text.x0 and text.x1 <= b.x1 and b.y0 <= text.y0 and text.y1 <= b.y1 for b in boxes), label.get_text()
        centre = (text.x0 + text.x1) / 2, (text.y0 + text.y1) / 2
        smallest = min((b for b in boxes if b.contains(*centre)), key=lambda b: b.width)
        assert text.width <= smallest.width, label.get_text()
