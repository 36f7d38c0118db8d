"""What wandb and TensorBoard leave in a run's folder, read back: scalars, pictures, settings, and one run over a resume."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

import nas
from nas.runs.trackers.tensorboard_tracker import TensorboardConfig
from nas.runs.trackers.wandb_tracker import WandbConfig
from nas.runs.tracking import read_metrics
from nas.training.train_task import TrainTask
from tests.small_jobs import STEPS_PER_EPOCH, random_genotype, search_job, train_job

TOTAL = 2 * STEPS_PER_EPOCH


class StoppedError(Exception):
    """Stands for a sudden death of the process."""


@pytest.fixture(scope="module")
def no_network():
    """Refuses connections to anything but this machine, and ends the service process of wandb at the end."""
    connect = socket.socket.connect
    refused = []

    def local(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            refused.append(address)
            raise OSError(f"connection to {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local)
        patch.setenv("WANDB_ERROR_REPORTING", "true")  # the default
        yield refused
        import wandb

        wandb.teardown()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, no_network):
    """A training with both trackers that died in its fifth step, the second of an epoch, and was resumed."""
    folder = tmp_path_factory.mktemp("tracked")
    random_genotype(folder / "genotype.yaml")
    logger = {
        "wandb": WandbConfig(mode="offline", project="streets", tags=["small"], group="some"),
        "tensorboard": TensorboardConfig(),
    }
    job = train_job(folder / "genotype.yaml", folder / "run", logger=logger)
    step = TrainTask.step

    def stopping(self, images, labels, number):
        if number == STEPS_PER_EPOCH + 1:
            raise StoppedError
        return step(self, images, labels, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainTask, "step", stopping)
        with pytest.raises(StoppedError):
            nas.train(job)
    job.resume = str(folder / "run")
    nas.train(job)
    assert no_network == []
    return folder / "run"


def records(path: Path):
    """The records of a .wandb file: blocks of 32 KiB of LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, whole = 7, b""
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def wandb_history(path: Path):
    """Step -> scalars of a .wandb file."""
    history = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
            history.setdefault(row["_step"], {}).update(row)
    return history


def expected_scalars(run: Path):
    """(tag, step, value) of every scalar of metrics.jsonl."""
    rows = read_metrics(run / "metrics.jsonl")
    return {
        (f"{row['split']}/{name}", row["step"], value)
        for row in rows
        for name, value in row.items()
        if name not in ("step", "split") and value is not None
    }


def test_offline_files_of_wandb_hold_every_scalar_of_every_step(trained):
    first, second = sorted(trained.glob("wandb/offline-run-*/*.wandb"))
    history = [wandb_history(first), wandb_history(second)]
    assert list(history[0]) == [1, 2, 3, 4]  # died in step 5; step 4 is behind the checkpoint
    assert list(history[1]) == [4, 5, 6]
    found = {(tag, step, value) for part in history for step, row in part.items() for tag, value in row.items() if "/" in tag}
    wanted = {scalar for scalar in expected_scalars(trained) if "seconds" not in scalar[0]}
    assert wanted <= {scalar for scalar in found if not isinstance(scalar[2], dict)}


def test_resumed_run_is_the_same_run_of_wandb_with_the_settings_as_plain_data(trained):
    runs = []
    for path in sorted(trained.glob("wandb/offline-run-*/*.wandb")):
        (run,) = [record.run for record in records(path) if record.WhichOneof("record_type") == "run"]
        config = {update.key: json.loads(update.value_json) for update in run.config.update}
        assert config["train"]["batch_size"] == 2
        assert config["data"]["size"] == [48, 64]
        assert (run.project, run.display_name, list(run.tags), run.run_group) == ("streets", "run", ["small"], "some")
        runs.append(run.run_id)
    known = json.loads((trained / "wandb.json").read_text())
    assert runs == [known["id"]] * 2
    assert (known["project"], known["entity"]) == ("streets", None)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_service_of_an_offline_run_is_told_to_send_no_telemetry(trained):
    del trained
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes().decode(errors="replace").split("\0"))
    mine = [command for command in commands if command[0].endswith("wandb-core") and str(os.getpid()) in command]
    assert len(mine) == 1
    assert "--no-observability" in mine[0]


def read_events(run: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_event_files_hold_every_scalar_once_also_after_a_resume(trained):
    events = read_events(trained)
    found = [(tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
    wanted = {(tag, step): value for tag, step, value in expected_scalars(trained)}
    assert sorted((tag, step) for tag, step, _ in found) == sorted(wanted)
    for tag, step, value in found:
        assert value == pytest.approx(wanted[tag, step], rel=1e-6)
    assert [event.step for event in events.Scalars("step/loss")] == list(range(1, TOTAL + 1))


def test_predictions_for_fixed_validation_images_are_kept_at_each_evaluation(trained):
    events = read_events(trained)
    assert events.Tags()["images"] == ["val_00000", "val_00001"]
    for tag in events.Tags()["images"]:
        assert [image.step for image in events.Images(tag)] == [TOTAL]  # eval_every=5 of two epochs: after the last
        assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in events.Images(tag))
    files = sorted(path.name.rpartition("_")[0] for path in trained.glob("wandb/offline-run-*/files/media/images/*.png"))
    assert files == [f"val_0000{number}_{TOTAL}" for number in range(2)]


def test_search_keeps_its_architecture_as_a_picture(tmp_path):
    job = search_job(
        tmp_path / "run", search__max_steps=1, search__relaxation="sampled", logger={"tensorboard": TensorboardConfig()}
    )
    nas.search(job)
    events = read_events(tmp_path / "run")
    (image,) = events.Images("architecture")
    assert image.step == 1
    assert image.width > 300
    assert image.height > 200
    assert {tag.split("/")[0] for tag in events.Tags()["scalars"]} == {"train", "val", "val_argmax", "step"}
