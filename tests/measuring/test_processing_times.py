"""What a picture costs around the network: every step is there, runs the project's own code, and leaves the process as it was."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from nas.errors import DataError
from nas.measuring import processing_times
from nas.measuring.processing_times import AFTER, BEFORE, INSIDE, LABELS, NORMALISE, PNG, RESIZE, RESIZE_LABELS, time_processing

STEPS = [BEFORE[0], PNG, RESIZE, NORMALISE, LABELS, INSIDE, RESIZE_LABELS]


@pytest.fixture(scope="module")
def times():
    return time_processing((60, 80), (48, 64), 5, rounds=3)


def test_every_step_has_its_time(times):
    assert [step.step for step in times.steps] == STEPS
    assert all(0 < step.p10_ms <= step.median_ms <= step.p90_ms for step in times.steps)
    assert [step.what for step in times.steps[2:]] == [
        "60x80 -> 48x64",
        "48x64 uint8 -> float32 [1, 3, H, W]",
        "5x48x64 -> 1x48x64",
        "5x48x64 -> 1x48x64",
        "48x64 -> 60x80",
    ]


def test_the_sums_leave_out_what_stands_for_something_else(times):
    median = {step.step: step.median_ms for step in times.steps}
    assert times.before_ms == pytest.approx(median["decode JPEG"] + median["resize image"] + median["normalise"])
    assert times.after_ms == pytest.approx(median["argmax"] + median["resize labels"])
    assert {PNG, INSIDE}.isdisjoint({*BEFORE, *AFTER})


def test_the_report_is_plain_data_and_the_summary_a_line_a_step(times):
    report = json.loads(json.dumps(times.as_json()))
    assert (report["image_size"], report["network_size"], report["num_classes"]) == ([60, 80], [48, 64], 5)
    assert [step["step"] for step in report["steps"]] == STEPS
    assert report["before_ms"] == times.before_ms
    assert set(report["libraries"]) == {"Pillow", "OpenCV", "NumPy", "PyTorch", "ONNX Runtime"}
    lines = times.summary()
    assert lines[0] == "pictures of 60x80, a network of 48x64, 5 classes; CPU of this machine, one thread:"
    assert [line.split("  ")[1] for line in lines[1:-2]] == STEPS
    resize = times.steps[-1].median_ms
    assert lines[-2] == f"  before the network {times.before_ms:.2f} ms (from a JPEG picture)"
    assert lines[-1].startswith(f"  after a network of logits {times.after_ms:.2f} ms; after one of labels")
    assert lines[-1].endswith(f"whose own time has the argmax, {resize:.2f} ms")


def test_labels_of_small_logits_are_resized_from_their_size():
    found = time_processing((60, 80), (49, 64), 5, logits_stride=8, rounds=1)
    what = {step.step: step.what for step in found.steps}
    assert (what["argmax"], what["resize labels"]) == ("5x7x8 -> 1x7x8", "7x8 -> 60x80")


def test_a_picture_of_the_user_is_decoded_at_its_own_size(tmp_path):
    path = tmp_path / "mine.png"
    Image.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(path)
    found = time_processing(None, (48, 64), 5, picture=path, rounds=1)
    assert (found.image_size, found.picture) == ((30, 40), str(path))
    with pytest.raises(DataError, match="nothing"):
        time_processing(None, (48, 64), 5, picture=tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="got neither a size nor a picture"):
        time_processing(None, (48, 64), 5)


def test_steps_run_on_one_thread_and_the_process_gets_its_own_back(monkeypatch):
    seen = []
    read = processing_times.read_image
    monkeypatch.setattr(
        processing_times, "read_image", lambda path: seen.append((torch.get_num_threads(), cv2.getNumThreads())) or read(path)
    )
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        time_processing((60, 80), (48, 64), 5, rounds=1)
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 2)
        assert set(seen) == {(1, 1)}
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_without_onnx_runtime_its_argmax_is_left_out(monkeypatch):
    monkeypatch.setattr(processing_times, "find_spec", lambda name: None)
    found = time_processing((60, 80), (48, 64), 5, rounds=1)
    assert [step.step for step in found.steps] == [step for step in STEPS if step != INSIDE]
    assert "ONNX Runtime" not in found.libraries
