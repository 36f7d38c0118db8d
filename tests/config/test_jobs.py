"""Settings that cannot work are refused where they are made, with the key, the value and what was expected."""

import importlib

import pytest

from nas.config.jobs import EvalJob, SearchJob, TrainJob
from nas.config.settings import LatencySettings, SearchSettings, TrainerSettings
from nas.config.train_settings import TrainSettings
from nas.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (SearchSettings, "log_every", 0),
        (SearchSettings, "epochs", 0),
        (SearchSettings, "weight_lr", -1.0),
        (SearchSettings, "communication_lr", -1e-4),
        (SearchSettings, "grad_clip", -1.0),
        (SearchSettings, "arch_betas", [0.5]),
        (SearchSettings, "arch_betas", [0.5, 1.0]),
        (SearchSettings, "relaxation", "softer"),
        (SearchSettings, "level", "trilevel"),
        (SearchSettings, "holdout", 0.0),
        (SearchSettings, "holdout", 1.0),
        (SearchSettings, "crop", [64]),
        (SearchSettings, "tau_end", 0.0),
        (TrainSettings, "log_every", 0),
        (TrainSettings, "lr", -0.1),
        (TrainSettings, "max_steps", 0),
        (EvalJob, "batch_size", 0),
        (EvalJob, "pictures", -1),
        (LatencySettings, "weight", -0.1),
        (LatencySettings, "unit", "seconds"),
        (TrainerSettings, "precision", "16-true"),
        (TrainerSettings, "devices", 0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(section, key, value):
    with pytest.raises(ConfigError) as refused:
        section(**{key: value})
    message = str(refused.value)
    assert key in message
    assert "got" in message
    assert "expected" in message
    assert "\n" not in message


def test_defaults_are_accepted():
    for section in (SearchSettings, TrainSettings, EvalJob, LatencySettings, TrainerSettings):
        section()


def test_jobs_are_found_where_version_0_1_had_them():
    assert [getattr(importlib.import_module("nas.config"), name) for name in ("SearchJob", "TrainJob")] == [SearchJob, TrainJob]
