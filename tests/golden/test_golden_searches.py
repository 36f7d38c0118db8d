"""Searches of every space and every way to search: metrics, genotype, checkpoint."""

from __future__ import annotations

import shutil

import pytest

from tests.golden import records
from tests.golden.records import run_in, words
from tests.golden.small import CPU, DATA, SEARCH, SPACES
from tests.golden.stored import FOLDER

TABLE = "latency.table=table.json"
CASES: dict[str, tuple[str, ...]] = {
    "lgcnet soft": (*SPACES["lgcnet"], "search.relaxation=soft"),
    "lgcnet hard": (*SPACES["lgcnet"], "search.relaxation=hard"),
    "lgcnet sampled": (*SPACES["lgcnet"], "search.relaxation=sampled"),
    "lgcnet soft bilevel": (*SPACES["lgcnet"], "search.level=bilevel"),
    "lgcnet sampled bilevel": (*SPACES["lgcnet"], "search.level=bilevel", "search.relaxation=sampled", "seed=1"),
    "lgcnet reference execution": (*SPACES["lgcnet"], "search.execution=reference"),
    "lgcnet recomputed activations": (*SPACES["lgcnet"], "trainer.checkpointing=all"),
    "lgcnet target": (*SPACES["lgcnet"], TABLE, "latency.target_ms=0.12", "search.arch_lr=0.1"),
    "lgcnet two tables": (*SPACES["lgcnet"], TABLE.replace("=", "=[") + ",macs]", "latency.weight=[0.1,0.2]"),
    "lgcnet warm-up": (
        *SPACES["lgcnet"],
        *(
            "search.warmup_epochs=1",
            "search.warmup_relaxation=sampled",
            "search.relaxation=hard",
            "search.noise=image",
            "search.crop=[16,32]",
        ),
    ),
    "gas soft": SPACES["gas"],
    "gas sampled without latency": (*SPACES["gas"], "search.relaxation=sampled", "latency.table=none", "space.communication=fc"),
    "cas hard": (*SPACES["cas"], "search.relaxation=hard"),
    "squeezenas_small soft": SPACES["squeezenas_small"],
    "squeezenas_small hard bilevel": (
        *SPACES["squeezenas_small"],
        "search.relaxation=hard",
        "search.level=bilevel",
        "search.loss=ohem",
    ),
    "squeezenas_small sampled": (
        *SPACES["squeezenas_small"],
        "search.relaxation=sampled",
        "search.noise=batch",
        TABLE,
        "latency.unit=us",
    ),
    "squeezenas_xlarge": SPACES["squeezenas_xlarge"],
    "fasterseg": SPACES["fasterseg"],
}
DECIDED_BY_BITS = {"fasterseg": ("genotypes", "predicted", "derived_latency")}
"""Four steps leave some of FasterSeg's logits almost equal: which is the largest may differ on another kind of machine."""


QUICK = {
    "lgcnet soft",
    "lgcnet sampled bilevel",
    "lgcnet target",
    "gas sampled without latency",
    "cas hard",
    "squeezenas_small hard bilevel",
    "squeezenas_xlarge",
    "fasterseg",
}
"""Cases that together pass through every space, relaxation and level; the others are slow tests."""


@pytest.mark.parametrize("case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES])
def test_search_gives_the_same_numbers_architecture_and_weights(golden, tmp_path, case):
    shutil.copy(FOLDER / "before" / "table.json", tmp_path / "table.json")
    run_in(tmp_path, "search", *words(DATA, CPU, SEARCH, ["latency.table=macs"], CASES[case]), "out=run")
    golden(case, records.search(tmp_path / "run"), bits=DECIDED_BY_BITS.get(case, ()))


def test_an_executions_results_are_those_of_the_other(stored):
    """What `search.execution` and `trainer.checkpointing` promise, read off the stored values."""
    values = stored.written or stored.values
    usual, recomputed = (values[f"lgcnet {case}"] for case in ("soft", "recomputed activations"))
    assert recomputed["metrics"] == usual["metrics"]
    assert recomputed["genotypes"] == usual["genotypes"]
