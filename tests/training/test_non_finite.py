"""What a run says of a loss or an output that is not finite."""

from __future__ import annotations

import math

import pytest
import torch

import nas
from nas.config.settings import SearchSettings, TrainerSettings
from nas.config.train_settings import TrainSettings
from nas.distributed.fabric import make_fabric
from nas.errors import NonFiniteLossError
from nas.training.confusion import confusion_over
from nas.training.non_finite import FiniteCheck, Steadying
from tests.small_jobs import TRAINER, random_genotype, search_job, search_task, train_job


@pytest.mark.parametrize(
    ("settings", "trainer", "ways"),
    [
        (TrainSettings(lr=500.0), TrainerSettings(), "a smaller train.lr (now 500), or train.grad_clip=1 (now 0, no clipping)"),
        (
            SearchSettings(weight_lr=2.0, grad_clip=5.0),
            TrainerSettings(precision="bf16-mixed"),
            "a smaller search.weight_lr (now 2), or a smaller search.grad_clip (now 5), or trainer.precision=32-true "
            "(now bf16-mixed)",
        ),
    ],
)
def test_advice_names_the_settings_with_their_values_and_where_a_resume_goes_on(settings, trainer, ways, tmp_path):
    steadying = Steadying.of(settings, trainer)
    start = f"start again with {ways}, in another out=; "
    assert steadying.advice(tmp_path) == f"{start}there is no checkpoint to resume from"
    last = tmp_path / "checkpoints" / "last.pt"
    last.parent.mkdir()
    last.touch()
    goes_on = f"resume={tmp_path} goes on from {last}, with the same settings to the same numbers"
    assert steadying.advice(tmp_path) == f"{start}{goes_on}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_output_that_is_not_finite_is_found_among_many(value):
    check = FiniteCheck(torch.device("cpu"))
    outputs = torch.zeros(2, 3, 4, 4)
    assert check.see(outputs) is outputs
    check.require("these")
    outputs[1, 2, 3, 0] = value
    check.see(outputs)
    check.see(torch.zeros(1))
    with pytest.raises(NonFiniteLossError, match="got logits that are not finite on these"):
        check.require("these")


def test_outputs_that_are_not_finite_have_no_metric():
    task = search_task(search_job())
    fabric = make_fabric(TrainerSettings(**TRAINER))

    def broken(images):
        return images.new_full((len(images), 11, *images.shape[2:]), math.nan)

    with pytest.raises(NonFiniteLossError, match="not finite on the images of split val"):
        confusion_over(broken, task.val_set, fabric=fabric, batch_size=2)
    with torch.no_grad():
        next(iter(task.supernet.weight_parameters())).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="not finite on the validation images"):
        task.evaluate(0)


def test_training_whose_last_step_breaks_the_network_does_not_end_well(tmp_path):
    random_genotype(tmp_path / "genotype.yaml")
    job = train_job(tmp_path / "genotype.yaml", tmp_path / "run", train__max_steps=1, train__lr=1e38)
    with pytest.raises(NonFiniteLossError) as caught:
        nas.train(job)
    what, advice = str(caught.value).splitlines()
    assert what.startswith("got logits that are not finite on the images of split val, ")
    assert "after step 1; the learning rate was 1e+38; the state is in " in what
    assert "a smaller train.lr (now 1e+38)" in advice
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert not (tmp_path / "run" / "done.json").exists()
