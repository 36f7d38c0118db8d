"""A genotype's file is read with its space: all of it is checked, and what is wrong is named by key or line."""

import dataclasses
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch
import yaml

from nas.errors import GenotypeError
from nas.network.build import build_network
from nas.ops import OpSpec
from nas.space.choice import Choice
from nas.space.deployment import Deployment
from nas.space.design import design_of, load_design, parse_design
from nas.space.genotype import FORMAT_VERSION, Genotype, dump_genotype, save_genotype
from nas.space.search_space import SearchSpace, SpaceEntry
from search_spaces import SEARCH_SPACES

ENTRY = SEARCH_SPACES["lgcnet"]
CONFIG = ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8)
SPACE = ENTRY.build(CONFIG)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_genotype(seed=0, **changes):
    fields = {
        "space": "lgcnet",
        "space_config": dataclasses.asdict(CONFIG),
        "deploy": Deployment((64, 96), 4, 5),
        "choices": SPACE.random_choices(torch.Generator().manual_seed(seed)),
        "provenance": {"seed": seed, "commit": "123e45", "table": None, "expected_latency": 1.25e-7, "on": "no"},
    }
    return Genotype(**{**fields, **changes})


def test_60_random_genotypes_survive_yaml():
    for seed in range(60):
        genotype = random_genotype(seed)
        text = dump_genotype(genotype)
        read = parse_design(text, SEARCH_SPACES, "x").genotype
        assert read == genotype
        assert list(read.choices) == list(SPACE.genotype_choices())
        assert yaml.safe_load(text)["choices"] == genotype.choices


def test_choices_come_in_the_order_of_the_space_however_the_file_lists_them():
    genotype = random_genotype()
    shuffled = dict(random.Random(0).sample(list(genotype.choices.items()), len(genotype.choices)))
    assert list(shuffled) != list(genotype.choices)
    read = parse_design(dump_genotype(random_genotype(choices=shuffled)), SEARCH_SPACES, "x").genotype
    assert list(read.choices) == list(genotype.choices)


def test_the_name_of_the_space_may_stand_in_its_config_but_must_agree():
    text = dump_genotype(random_genotype())
    assert (
        parse_design(text.replace("space_config:\n", "space_config:\n  name: lgcnet\n"), SEARCH_SPACES, "x").genotype
        == random_genotype()
    )
    with pytest.raises(GenotypeError, match=r"space_config\.name: got 'gas', expected 'lgcnet'"):
        parse_design(text.replace("space_config:\n", "space_config:\n  name: gas\n"), SEARCH_SPACES, "x")


class Oracle:
    """Whether a text is no valid genotype, decided with PyYAML and the space alone."""

    def __init__(self, text):
        self.original = yaml.safe_load(text)
        self.options = SPACE.genotype_choices()

    def is_wrong(self, text):
        try:
            tokens = list(yaml.scan(text))
            node = yaml.compose(text)
            data = yaml.safe_load(text)
        except yaml.YAMLError:
            return True
        special = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)
        return any(isinstance(token, special) for token in tokens) or self.repeats(node) or self.misfits(data)

    def repeats(self, node):
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            return len(set(keys)) < len(keys) or any(self.repeats(value) for _, value in node.value)
        return False

    def misfits(self, data):
        if not self.same_keys_and_types(data, self.original, ("space_config", "deploy")):
            return True
        config, deploy = data["space_config"], data["deploy"]
        sizes = [*deploy["input"], deploy["init_channels"], deploy["num_classes"]]
        return (
            data["format_version"] != FORMAT_VERSION
            or data["space"] not in SEARCH_SPACES
            or config["cells"] not in ("independent", "shared")
            or config["communication"] not in ("none", "fc", "gcn")
            or config["reasoning"] not in ("edge_similarity", "operation_identity")
            or config["head"] not in ("none", "aspp", "ppm", "mscell", "dcfc")
            or len(sizes) != 4
            or any(type(size) is not int or size < 1 for size in sizes)
            or data["choices"].keys() != self.options.keys()
            or any(option not in self.options[name] for name, option in data["choices"].items())
        )

    def same_keys_and_types(self, data, original, sections):
        if not isinstance(data, dict) or data.keys() != original.keys():
            return False
        if any(type(data[key]) is not type(original[key]) for key in data):
            return False
        return all(self.same_keys_and_types(data[key], original[key], ()) for key in sections)


KEY = re.compile(r"( *)([^\s:#][^:]*): ?(.*)")


def mutations(text: str) -> Iterator[tuple[str, str, str]]:
    """(what was done, a word that the message may name, the text) of texts that are wrong in one place."""
    rng = random.Random(0)
    lines = text.splitlines()
    matches = [(i, KEY.fullmatch(line)) for i, line in enumerate(lines)]
    keys = [(i, match[1], match[2], match[3]) for i, match in matches if match and not lines[i].startswith("#")]
    provenance = lines.index("provenance:")
    inner = [key for key in keys if key[0] < provenance and key[3]]
    chosen = [key for key in inner if key[2].startswith(("cells.", "fusion."))]
    others = [key for key in inner if key not in chosen]
    picked = others + rng.sample(chosen, 4)

    def with_line(index, *new):
        return "\n".join([*lines[:index], *new, *lines[index + 1 :]]) + "\n"

    for i, indent, key, value in picked:
        yield f"delete {key}", key, with_line(i)
        yield f"rename {key}", key, with_line(i, f"{indent}{key}_x: {value}")
        yield f"repeat {key}", key, with_line(i, lines[i], lines[i])
        for wrong in ("{a: 1}", "null" if value.startswith("[") else "[[1]]", "1.5", "true", "'17 x'"):
            if not (key in ("gamma",) and wrong == "1.5"):
                yield f"retype {key} to {wrong}", key, with_line(i, f"{indent}{key}: {wrong}")
        yield f"anchor at {key}", "anchor", with_line(i, f"{indent}{key}: &a {value}")
        yield f"tag at {key}", "tag", with_line(i, f"{indent}{key}: !!python/name:os.system {value}")
        yield f"tab at {key}", "YAML", with_line(i, f"\t{key}: {value}")
    for i, indent, key, _ in rng.sample(chosen, 3):
        yield f"unknown option for {key}", key, with_line(i, f"{indent}{key}: conv_9x9")
        yield f"unquoted no for {key}", key, with_line(i, f"{indent}{key}: no")
    for section in ("space_config", "deploy", "choices", "provenance"):
        start = lines.index(f"{section}:")
        length = next((j for j, line in enumerate(lines[start + 1 :]) if line and not line.startswith(" ")), len(lines) - start - 1)
        yield f"no {section}", section, "\n".join(lines[:start] + lines[start + 1 + length :])
        yield f"list for {section}", section, "\n".join([*lines[:start], f"{section}: [1]", *lines[start + 1 + length :]])
    first = text.index("  cells.0.edge.0")
    for at in sorted(rng.sample(range(first, text.index("\nprovenance") - 1), 8)):
        yield f"cut at {at}", "provenance: missing", text[:at]
    for size in ("[64]", "[64, 96, 3]", "[0, 96]", "[64, -96]", "[64.0, 96]", "[99999999, 96]", '["64", 96]'):
        yield f"input {size}", "deploy.input", text.replace("[64, 96]", size)
    yield "empty", "genotype", ""
    yield "a list", "genotype", "- 1\n- 2\n"
    yield "a word", "genotype", "genotype\n"
    yield "merge key", "<<", text.replace("choices:\n", "choices:\n  <<: {a: b}\n")
    yield "two documents", "YAML", text + "---\n" + text
    yield "new version", "format_version", text.replace("format_version: 1", "format_version: 2")
    yield "unknown space", "lgcnet", text.replace("space: lgcnet", "space: lgcnett")
    yield "interpolation", "space_config.head", text.replace("head: dcfc", "head: ${oc.env:HOME}")
    yield "control character", "character", text.replace("space: lgcnet", "space: lgc\x07net")


def test_more_than_100_broken_files_are_refused_in_at_most_two_lines_with_key_or_line():
    text = dump_genotype(random_genotype())
    oracle = Oracle(text)
    assert not oracle.is_wrong(text)
    parse_design(text, SEARCH_SPACES, "x")
    tried = 0
    for name, word, broken in mutations(text):
        assert broken != text, name
        assert name == "interpolation" or "input [999" in name or oracle.is_wrong(broken), name
        with pytest.raises(GenotypeError) as caught:
            parse_design(broken, SEARCH_SPACES, "folder/x.yaml")
        message = str(caught.value)
        assert message.startswith("folder/x.yaml: "), (name, message)
        assert message.count("\n") <= 1, (name, message)
        assert re.search(r"\bline \d+: ", message) or word in message, (name, message)
        tried += 1
    assert tried > 120


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n" + b"\0" * 100])
def test_a_binary_file_is_refused(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(GenotypeError, match=r"^.*x\.yaml: line \d+: got (bytes|the character)") as caught:
        load_design(path, SEARCH_SPACES)
    assert "\n" not in str(caught.value)


def test_a_huge_file_is_refused_without_parsing_it(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(dump_genotype(random_genotype()) + "# " + "x" * 1_000_000)
    with pytest.raises(GenotypeError, match="more than 1000000 bytes"):
        load_design(path, SEARCH_SPACES)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + dump_genotype(random_genotype()).replace("\n", "\r\n").encode())
    assert load_design(path, SEARCH_SPACES).genotype == random_genotype()


def test_a_node_without_input_is_refused_by_the_name_of_an_edge():
    choices = {**random_genotype().choices, "cells.1.edge.0": "none", "cells.1.edge.1": "none"}
    with pytest.raises(GenotypeError, match=r"^f: line \d+: choices\.cells\.1\.edge\.0: all edges into node 0 of cell 1"):
        parse_design(dump_genotype(random_genotype(choices=choices)), SEARCH_SPACES, "f")


def test_what_the_space_says_of_its_settings_is_said_of_the_file():
    text = dump_genotype(random_genotype()).replace("num_cells: 3", "num_cells: 2")
    with pytest.raises(GenotypeError, match=r"^f: line \d+: space_config\.reduction_cells: .* below space_config\.num_cells=2"):
        parse_design(text, SEARCH_SPACES, "f")


def test_a_genotype_is_saved_whole_and_loaded_from_file_and_folder(tmp_path):
    run = tmp_path / "new" / "run"
    save_genotype(run / "genotype.yaml", random_genotype(1))
    save_genotype(run / "genotype.yaml", random_genotype(2))
    assert [path.name for path in run.iterdir()] == ["genotype.yaml"]
    for given in (run, str(run / "genotype.yaml")):
        assert load_design(given, SEARCH_SPACES).genotype == random_genotype(2)


def test_a_published_genotype_is_found_by_its_name(tmp_path, monkeypatch):
    save_genotype(tmp_path / "best.yaml", random_genotype(3))
    monkeypatch.setattr("nas.space.genotype.published_genotypes", lambda: {"lgcnet/best": tmp_path / "best.yaml"})
    assert load_design("lgcnet/best", SEARCH_SPACES).genotype == random_genotype(3)
    with pytest.raises(GenotypeError, match=r"got 'lgcnet/bset'.*lgcnet/best"):
        load_design("lgcnet/bset", SEARCH_SPACES)


def test_the_graph_has_the_deployed_shape_and_the_deployed_or_the_given_classes():
    genotype = random_genotype()
    space = design_of(genotype, SEARCH_SPACES).space
    assert space.config == CONFIG
    deployed = SPACE.graph(Deployment((64, 96), 4, 5), genotype.choices)
    assert design_of(genotype, SEARCH_SPACES).graph.operations() == deployed.operations()
    other = SPACE.graph(Deployment((64, 96), 4, 7), genotype.choices)
    assert design_of(genotype, SEARCH_SPACES).with_classes(7).graph.operations() == other.operations()


@pytest.mark.parametrize("seed", range(2))
def test_a_built_network_gives_logits_at_the_size_of_any_image(seed):
    genotype = random_genotype(seed)
    network = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    assert network(torch.randn(2, 3, 97, 131)).shape == (2, 5, 97, 131)
    network = build_network(design_of(genotype, SEARCH_SPACES), num_classes=3).eval()
    assert network(torch.randn(1, 3, 64, 96)).shape == (1, 3, 64, 96)


NAMES = ("no", "off", "0.67", "010", "1e3", "null", "~", "none", "2026-01-01", "<<", "a: b", "#", "1:30", "üö")


@dataclass(kw_only=True, slots=True)
class OddConfig:
    name: str = "odd"
    ratio: float = 1.0
    label: str = "x"
    extra: list[float] = field(default_factory=list)


class OddSpace(SearchSpace):
    """One decision a name; all options are the same convolution."""

    def choices(self):
        return tuple(Choice(f"width.{i}", NAMES, "widths", i) for i in range(len(NAMES)))

    def describe(self, builder, *, init_channels, num_classes):
        height, width = builder.input_size
        value = builder.image()
        shape = {"height": height, "width": width, "out_height": height, "out_width": width}
        for choice in self.choices():
            spec = OpSpec(kind="relu_conv_bn", in_channels=value.channels, out_channels=num_classes, **shape)
            value = builder.choice(choice.name, dict.fromkeys(NAMES, spec), value)
        labels = builder.op("labels", OpSpec(kind="argmax", in_channels=num_classes, out_channels=1, **shape), value)
        return builder.finish(logits=value, labels=labels)

    def random_choices(self, generator):
        return {name: options[0] for name, options in self.genotype_choices().items()}


ODD = {"odd": SpaceEntry(OddConfig, OddSpace)}


def odd_genotype():
    choices = {f"width.{i}": name for i, name in enumerate(NAMES)}
    return Genotype(
        "odd", {"name": "odd", "ratio": 0.67, "label": "no", "extra": [1.0, 1e-30]}, Deployment((8, 8), 1, 2), choices, {}
    )


def test_options_that_yaml_would_read_as_something_else_are_quoted():
    text = dump_genotype(odd_genotype())
    assert parse_design(text, ODD, "x").genotype == odd_genotype()
    assert yaml.safe_load(text)["choices"] == odd_genotype().choices


@pytest.mark.parametrize("index", [0, 1, 2, 5, 6])
def test_an_option_without_its_quotes_is_refused_with_advice(index):
    text = dump_genotype(odd_genotype())
    quoted = f"width.{index}: '{NAMES[index]}'"
    assert quoted in text
    with pytest.raises(GenotypeError, match=rf"^f: line \d+: choices\.width\.{index}: got .*in quotes"):
        parse_design(text.replace(quoted, quoted.replace("'", "")), ODD, "f")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ratio: 0.67", "ratio: '0.67'", r"space_config\.ratio: got '0\.67' \(a text\), expected a number"),
        ("ratio: 0.67", "ratio: true", r"space_config\.ratio: got True \(a boolean\)"),
        ("label: 'no'", "label: no", r"space_config\.label: got False \(a boolean\), expected a text"),
        ("[1.0, 1.0e-30]", "[1.0, x]", r"space_config\.extra"),
        ("[1.0, 1.0e-30]", "[1.0, '2']", r"space_config\.extra\.1: got '2'"),
        ("label: 'no'", "label: '???'", r"space_config\.label: got '\?\?\?'"),
        ("ratio: 0.67", "", r"space_config\.ratio: missing"),
        ("ratio: 0.67", "ratio: 0.67\n  more: 1", r"space_config\.more: unknown key, expected name, ratio, label, extra"),
    ],
)
def test_a_setting_of_another_type_is_refused_and_not_converted(old, new, message):
    text = dump_genotype(odd_genotype())
    assert old in text
    with pytest.raises(GenotypeError, match=message):
        parse_design(text.replace(old, new), ODD, "f")


def test_a_whole_number_may_stand_for_a_number():
    read = parse_design(dump_genotype(odd_genotype()).replace("ratio: 0.67", "ratio: 2"), ODD, "f").genotype
    assert read.space_config["ratio"] == 2.0
