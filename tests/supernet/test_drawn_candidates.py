"""Choice among candidates: what is drawn keeps the targets, what is chosen has the least loss, and it stays chosen."""

from __future__ import annotations

import json

import pytest
import torch

import nas
from nas.config.jobs import DeriveJob
from nas.data.batches.loader import eval_loader
from nas.errors import ConfigError, UserError
from nas.losses import cross_entropy
from nas.runs.checkpoint import load_checkpoint, save_checkpoint
from nas.space.weights import one_hot
from nas.stages.derive import derive
from nas.supernet.derivation import space_of
from nas.supernet.drawn_candidates import SHARES, best_candidates, draw_candidates
from search_spaces import SEARCH_SPACES
from tests.small_jobs import made_up_table, search_job, search_task

TARGET_MS = 0.05


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A task with a target that few draws of its undecided logits keep."""
    path = tmp_path_factory.mktemp("limited") / "table.json"
    made_up_table(path)
    return search_task(search_job(data__val=16, latency__table=str(path), latency__target_ms=TARGET_MS))


def draws(task, count, *, seed=0):
    return draw_candidates(task.derived, count, torch.Generator().manual_seed(seed))


def test_candidates_are_distinct_and_keep_the_target_and_the_most_probable_one_is_first(limited):
    found = draws(limited, 6)
    assert len(found) == 6 == len({json.dumps(one, sort_keys=True) for one in found})
    assert found[0] == dict(limited.derived.first().choices)
    for choices in found:
        limited.space.check(choices)
        assert limited.costs.predicted(choices)[0] <= TARGET_MS
    assert found == draws(limited, 6)
    assert found != draws(limited, 6, seed=1)


def test_a_decided_search_has_fewer_candidates_than_were_asked_for(limited):
    task = search_task(search_job())
    with torch.no_grad():
        for alpha in task.supernet.alpha_parameters():
            alpha[:, 0] += 100
    assert len(draws(task, 8)) == 1


def test_the_best_are_ranked_by_the_loss_of_each_network_alone(limited):
    ranked, count = best_candidates(limited.evaluation, 32, torch.Generator().manual_seed(0))
    assert count == 32
    assert len(ranked) == 32 / 4 ** (len(SHARES) - 1)
    choices, first = limited.space.choices(), limited.derived.first_set
    alone = limited.evaluation.losses([one_hot(one.choices, choices, architecture=first) for one in ranked])
    assert [one.loss for one in ranked] == pytest.approx(alone)
    assert alone == sorted(alone)
    again, _ = best_candidates(limited.evaluation, 32, torch.Generator().manual_seed(0))
    assert again == ranked


def test_half_of_the_candidates_are_bred_from_the_best_and_keep_the_target(limited, monkeypatch):
    scored: list[dict[str, str]] = []
    options = limited.space.genotype_choices()

    def losses(each, *, share):
        named = [{name: options[name][k] for name, k in weights.drawn.items()} for weights in each]
        if share == SHARES[0]:
            scored.extend(named)
        return [float(sum(option == "conv_1x1" for option in one.values())) for one in named]

    monkeypatch.setattr(limited.evaluation, "losses", losses)
    _, count = best_candidates(limited.evaluation, 64, torch.Generator().manual_seed(0))
    assert count == len(scored) == 64 == len({json.dumps(one, sort_keys=True) for one in scored})
    drawn, bred = scored[:32], scored[32:]
    assert drawn == draws(limited, 32)
    for choices in bred:
        limited.space.check(choices)
        assert limited.costs.predicted(choices)[0] <= TARGET_MS
    assert sum(losses_of(bred)) < 0.8 * sum(losses_of(drawn))


def losses_of(found):
    return [sum(option == "conv_1x1" for option in one.values()) for one in found]


def test_a_loss_is_the_mean_over_the_valid_pixels_of_the_share(limited):
    task = search_task(search_job(data__val=5, search__recalibrate=0))
    weights = one_hot(task.derived.first().choices, task.space.choices(), architecture=task.derived.first_set)
    batches = list(eval_loader(task.val_set, batch_size=task.plan.batch_size))
    task.supernet.eval()
    with torch.no_grad():
        logits = [task.supernet.network(images, weights) for images, _ in batches]
    for share, count in ((0.1, 1), (0.5, 2), (1.0, 3)):
        (found,) = task.evaluation.losses([weights], share=share)
        labels = torch.cat([labels for _, labels in batches[:count]])
        assert found == pytest.approx(float(cross_entropy(torch.cat(logits[:count]), labels)), rel=1e-5)


def test_a_search_derives_the_chosen_one_also_from_its_checkpoint(tmp_path):
    job = search_job(tmp_path / "run", search__candidates=8, data__val=16, search__epochs=1)
    result = nas.search(job)
    state = load_checkpoint(tmp_path / "run/checkpoints/last.pt")
    assert state["chosen"] == dict(result.genotype.choices)
    assert result.genotype.provenance["candidates"] == 8
    assert result.entropy is None
    assert not any("decided" in line for line in result.summary())
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if row["split"] == "val_candidates"]
    assert row["candidates"] == 8
    assert row["loss"] > 0

    def derived(name, **settings):
        return derive(DeriveJob(run=str(tmp_path / "run"), out=str(tmp_path / name), **settings), SEARCH_SPACES).genotype

    assert derived("again").choices == result.genotype.choices
    state["chosen"] = {name: options[-1] for name, options in space_of(state, SEARCH_SPACES).genotype_choices().items()}
    save_checkpoint(tmp_path / "run/checkpoints/last.pt", state)
    assert derived("other").choices == state["chosen"]
    drawn = derived("drawn", sample=1)
    assert drawn.choices != state["chosen"]
    assert "candidates" not in drawn.provenance


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "chosen: the part"),
        ({"left_over": "none"}, "which is no decision of space lgcnet"),
        ({"first": "no_operation"}, "got 'no_operation', expected one of"),
        ([], "chosen: got .*, expected a dict"),
    ],
)
def test_a_checkpoint_with_another_choice_is_refused_in_a_line(tmp_path, broken, said):
    run = tmp_path / "run"
    nas.search(search_job(run, search__max_steps=1))
    state = load_checkpoint(run / "checkpoints/last.pt")
    options = space_of(state, SEARCH_SPACES).genotype_choices()
    good = {name: given[0] for name, given in options.items()}
    if "left_over" in broken:
        state["chosen"] = {**good, **broken}
    elif "first" in broken:
        state["chosen"] = {**good, next(iter(options)): broken["first"]}
    else:
        state["chosen"] = broken
    save_checkpoint(run / "checkpoints/last.pt", state)
    with pytest.raises(UserError, match=said):
        derive(DeriveJob(run=str(run), out=str(tmp_path / "out")), SEARCH_SPACES)


def test_a_space_whose_networks_the_supernet_cannot_score_is_refused():
    config = SEARCH_SPACES["fasterseg"].config()
    job = search_job(search__candidates=4)
    with pytest.raises(ConfigError, match=r"search\.candidates: got 4, expected 0 for space fasterseg"):
        search_task(type(job)(space=config, data=job.data, search=job.search, latency=job.latency, trainer=job.trainer))
