"""Whole networks timed by the worker: over SSH with an imitated runtime, and in a process of its own here with a real one."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.config.measuring_jobs import ValidateJob
from nas.config.settings import DeploySettings, SshSettings
from nas.cost.latency_table import LatencyTable, read_table, save_table
from nas.cost.table_parts import Reference
from nas.errors import ConfigError, ResumableError, TableError
from nas.measuring.operation_graphs import network_file, operation_file
from nas.measuring.runners.open_runner import check_table, open_runner
from nas.measuring.runners.request import request_for_table
from nas.measuring.runners.runner import SizedNetwork
from nas.measuring.runners.worker_runner import networks_without_graph
from nas.network.network import Network
from nas.ops import is_free
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from search_spaces import SEARCH_SPACES
from tests.cost.simulated_table import table_of
from tests.measuring.runners.fake_onnxruntime_speed import seconds_of
from tests.measuring.runners.remote_device import RemoteDevice
from tests.simulated_device import conv

SIZE, ROUNDS = (32, 32), 2
SPACE = SEARCH_SPACES["squeezenas_small"]


def graphs(count: int) -> list[Graph]:
    """Random networks."""
    space = SPACE.build(SPACE.config())
    draw = random.Random(0)
    decided: list[Mapping[str, str]] = [
        {name: draw.choice(options) for name, options in space.genotype_choices().items()} for _ in range(count)
    ]
    return [space.graph(Deployment(SIZE, 16, 4), one) for one in decided]


def the_table(**changes: Any) -> LatencyTable:
    """A table of the imitated device at twice its reference's true time."""
    reference = operation_file(conv(3), batch=1, script=False)
    level = Reference(conv(3).key, 2e3 * seconds_of(reference.content))
    return table_of({conv(3): 1.0}, **{"backend": "onnxruntime", "version": "99.0-fake", "reference": level, **changes})


def the_job(side: RemoteDevice, **changes: Any) -> ValidateJob:
    target = side.sshd.target()
    ssh = SshSettings(key=str(target.key), known_hosts=str(target.known_hosts), python=str(side.python), folder=str(side.base))
    settings = {"runner": "ssh", "host": target.text, "ssh": ssh, "device": "board", "rounds": ROUNDS}
    deploy = DeploySettings(input=list(SIZE))
    return ValidateJob(**{"space": SPACE.config(), "deploy": deploy, **settings, **changes})


def network_of(graph: Graph, *, seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(graph.deployed()).eval()


def true_ms(number: int, graph: Graph) -> float:
    """What the imitation takes for a network: a function of its graph."""
    network = network_of(graph, seed=number)
    return 1e3 * seconds_of(network_file(network, size=SIZE, batch=1, script=False).content)


def times_of(graphs: list[Graph], job: ValidateJob, table: LatencyTable) -> Any:
    """Samples of networks where a job says."""
    with open_runner(job, request_for_table(job, table)) as runner:
        check_table(table, runner, Path("table.json"))
        networks = [SizedNetwork(partial(network_of, graph, seed=number), SIZE) for number, graph in enumerate(graphs)]
        assert table.reference is not None
        timed, _ = runner.time_networks(networks, conv(3), seed=0)
        return timed.samples(level_ms=table.reference.median_ms)


def test_networks_are_timed_over_ssh_twice_at_the_level_of_the_table(board: RemoteDevice) -> None:
    networks = graphs(3)
    samples = times_of(networks, the_job(board), the_table())
    assert samples.shape == (3, 2, ROUNDS)
    for number, graph in enumerate(networks):
        expected = 2 * true_ms(number, graph)  # of the table's level; a sleep may take longer on a busy machine
        assert 0.6 * expected < np.median(samples[number])
        assert np.min(samples[number]) < 1.8 * expected
    assert not board.files.exists()


def test_a_stopped_validation_goes_on_from_the_workers_journal(board: RemoteDevice) -> None:
    networks = graphs(3)
    board.at(kill=60)
    with pytest.raises(ResumableError, match="the same command goes on from there"):
        times_of(networks, the_job(board), the_table())
    there = len(board.remote_journal.read_text().splitlines()) - 1
    calls = board.num_calls
    assert there > 3
    assert times_of(networks, the_job(board), the_table()).shape == (3, 2, ROUNDS)
    whole = 3 * 2 * ROUNDS
    # Each operation is called four times to set it up; a timing has one call before it and num_calls in it.
    assert board.num_calls - calls < (whole + ROUNDS + 4 - there) * 7 + 4 * 8


@pytest.mark.parametrize(
    ("table", "error", "reason"),
    [
        ({"device": "other"}, TableError, r"^table\.json: got a latency table of other, expected one of board"),
        ({"version": "1.0"}, TableError, "measured with onnxruntime 1.0, and there is 99.0-fake"),
        ({"reference": None}, TableError, "names no reference operation"),
        ({"backend": "torch-eager"}, ConfigError, "expected a table of one of onnxruntime"),
    ],
)
def test_a_table_that_the_place_cannot_judge_is_refused(
    table: dict[str, Any], error: type[Exception], reason: str, board: RemoteDevice
) -> None:
    with pytest.raises(error, match=reason):
        times_of(graphs(1), the_job(board), the_table(**table))


def test_a_table_of_a_runtime_of_the_worker_is_validated_and_calibrated_here(run_nas, tmp_path: Path) -> None:
    tiny = {"stages": [[8, 2, 2], [12, 2, 1]], "low_level_block": 1, "last_channels": 16, "decoder_channels": 8, "stem_channels": 8}
    specs = SPACE.build(SPACE.config(**tiny)).plan(Deployment(SIZE, 8, 4))
    about = {
        "device": "desk",
        "backend": "torch-script",
        "version": str(torch.__version__),
        "reference": Reference(conv(3).key, 1.0),
    }
    save_table(table_of(dict.fromkeys((spec for spec in specs if not is_free(spec)), 1.0), **about), tmp_path / "table.json")
    words = [f"space.{key}={json.dumps(value)}" for key, value in tiny.items()]
    shape = ["space=squeezenas_small", *words, "deploy.input=[32,32]", "num_classes=4", "device=desk"]
    validated = run_nas("profile", "validate", *shape, "latency.table=table.json", "samples=8", "rounds=1", "out=found")
    found = [(one.space, one.fitted, one.judged) for one in read_table(tmp_path / "table.json").calibrations]
    if validated.status == 0:
        assert found == [("squeezenas_small", 4, 4)]
    else:  # eight networks, one round: it may be refused
        assert (validated.status, found) == (1, [])
        assert "table.json is not calibrated" in validated.err
    assert (tmp_path / "found" / "scatter.png").stat().st_size > 0


def test_validation_in_a_bundle_is_refused(run_nas, tmp_path: Path) -> None:
    save_table(the_table(), tmp_path / "table.json")
    outcome = run_nas("profile", "validate", "runner=bundle", "latency.table=table.json", "deploy.input=[32,32]")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "runner: got 'bundle', expected one of local, ssh" in outcome.err


def test_the_imitation_takes_the_time_that_is_expected_of_it() -> None:
    content = b"graph"
    share = int(hashlib.sha256(content).hexdigest()[:12], 16) / 16**12
    assert seconds_of(content) == pytest.approx(1e-3 * (1 + share))


@pytest.mark.parametrize(
    ("result", "count"),
    [
        ({"without_graph": [0, 1, 5]}, 2),  # both series of the first network, one of the third
        ({"without_graph": [6]}, 0),  # the reference operation
        ({"without_graph": []}, 0),
        ({}, 0),
        ({"without_graph": "all"}, 0),
    ],
)
def test_networks_that_were_launched_without_a_graph_are_counted_once(result: dict[str, Any], count: int) -> None:
    assert networks_without_graph(result, 3) == count
