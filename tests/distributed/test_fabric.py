"""The precision of a run: where it is refused, and why."""

from __future__ import annotations

import pytest
import torch

from nas.config.settings import TrainerSettings
from nas.distributed.fabric import check_precision, make_fabric
from nas.errors import ConfigError
from tests.small_jobs import overrides, search_job


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_low_precision_is_refused_on_the_cpu_with_the_reason(accelerator, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    where = "trainer.accelerator=cpu" if accelerator == "cpu" else "a machine where PyTorch finds no CUDA device"
    why = "for float16 needs CUDA" if precision == "16-mixed" else "where most searches were measured to end in a loss of NaN, .*"
    with pytest.raises(ConfigError, match=f"^trainer.precision: got {precision} with {where}, {why}; give 32-true$"):
        make_fabric(TrainerSettings(accelerator=accelerator, precision=precision), scales_gradients=True)


def test_bf16_goes_with_cuda_and_float16_with_who_scales_gradients(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_precision(TrainerSettings(precision="bf16-mixed"))
    check_precision(TrainerSettings(precision="16-mixed"), scales_gradients=True)
    with pytest.raises(ConfigError, match="got 16-mixed, which only nas train knows; give 32-true, or bf16-mixed on CUDA"):
        check_precision(TrainerSettings(precision="16-mixed"))


def test_what_computes_in_float32_refuses_any_other_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="got bf16-mixed, expected 32-true, for nas eval computes in float32; leave it out"):
        make_fabric(TrainerSettings(precision="bf16-mixed"), alone="nas eval")


@pytest.mark.parametrize("extra", [[], ["plan=true"]])
def test_search_and_its_plan_refuse_bf16_on_the_cpu_before_anything_is_written(run_nas, tmp_path, extra):
    outcome = run_nas("search", *overrides(search_job("run")), "trainer.precision=bf16-mixed", *extra)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "got bf16-mixed with trainer.accelerator=cpu" in outcome.err
    assert not (tmp_path / "run").exists()
