"""A space of another package, found through the entry-point group `segnas.spaces`.

`outside/golden_outside.py` is such a package. It imports `nas.errors` (ConfigError), `nas.graph` (Graph, NetworkBuilder, Value,
map_spec), `nas.ops` (OpSpec, out_size), `nas.ops.candidates` (CANDIDATE_OPS, EdgeShape, candidate_specs), `nas.setting_checks`
(at_least, one_of, require) and `nas.space` (Choice, SearchSpace, SpaceEntry): these paths are public, wherever the code behind them
lies.
"""

from __future__ import annotations

import sys

import pytest
from hydra.core.config_store import ConfigStore

import nas
from tests.golden import records
from tests.golden.records import run_in, words
from tests.golden.small import CPU, DATA, SEARCH, TRAIN
from tests.golden.stored import FOLDER


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    """For one test only: Hydra, too, forgets the space afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER / "outside"))
    yield
    spaces = ConfigStore.instance().repo.get("space", {})
    for name in [name for name in spaces if "outside" in name]:
        del spaces[name]
    sys.modules.pop("golden_outside", None)


def test_space_of_another_package_is_listed_and_shown(golden_text, tmp_path):
    assert "outside" in nas.list_spaces()
    golden_text("outside_show", run_in(tmp_path, "show", "space=outside", "deploy.input=[32,48]"))
    golden_text("outside_settings", run_in(tmp_path, "search", "space=outside", "--cfg", "job", "--package", "space"))


@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_space_of_another_package_is_searched_and_trained_to_the_same_numbers(golden, tmp_path, relaxation):
    settings = ["space=outside", "space.blocks=3", f"search.relaxation={relaxation}", "latency.table=macs"]
    run_in(tmp_path, "search", *words(DATA, CPU, SEARCH, settings), "out=run")
    golden(f"search {relaxation}", records.search(tmp_path / "run"))
    run_in(tmp_path, "train", *words(DATA, CPU, TRAIN), "genotype=run", "out=trained")
    golden(f"training {relaxation}", records.training(tmp_path / "trained"))
