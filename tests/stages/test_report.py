"""The report: one page that needs nothing beside itself, from a run's files alone, finished or not."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import nas
from nas.cli.command_line import main
from nas.reports.page import folded, note, page, picture, table
from nas.supernet.search_task import SearchTask
from tests.small_jobs import CHECKOUT, STEPS_PER_EPOCH, made_up_table, overrides, rows, search_job, train_job

pytestmark = pytest.mark.pages
ALONE = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td", "figure", "img", "figcaption",
         "details", "summary", "pre", "p", "br"}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses what is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return "\n".join(self.text)

    @property
    def pictures(self) -> list[bytes]:
        head = "data:image/png;base64,"
        return [base64.b64decode(value.removeprefix(head), validate=True) for name, value in self.attributes if name == "src"]


def read(path) -> Page:
    """A page, checked to need nothing beside itself."""
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert set(found.tags) <= ALONE
    for name, value in found.attributes:
        assert name in ("lang", "charset", "name", "content", "class", "src", "alt", "width"), name
        assert name != "src" or value.startswith("data:image/png;base64,")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert all(png.startswith(b"\x89PNG\r\n") for png in found.pictures)
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    made_up_table(folder / "table.json")
    nas.search(search_job(folder / "run", latency__table=str(folder / "table.json"), search__relaxation="sampled"))
    return folder / "run"


@pytest.fixture
def run(searched, tmp_path):
    """A copy of the search, to be damaged."""
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


def test_search_leaves_a_page_with_curves_architecture_genotype_and_settings(searched):
    found = read(searched / "report.html")
    assert len(found.pictures) == 2
    genotype = yaml.safe_load((searched / "genotype.yaml").read_text())
    assert all(f"{name}: {option}" in found.words for name, option in genotype["choices"].items())
    assert "nas search: lgcnet on synthetic" in found.words
    assert f"finished after {2 * STEPS_PER_EPOCH} steps" in found.words
    assert f"{rows(searched, 'val_argmax')[-1]['miou']:.4f}" in found.words
    assert "batch_size: 2" in found.words
    for path in searched.iterdir():
        assert path.name in found.words or path.name == "report.html"


def test_table_of_the_parts_is_that_of_the_latency_table(searched):
    found = read(searched / "report.html")
    latency = nas.predict(nas.load_genotype(searched), nas.load_table(searched.parent / "table.json"))
    cells = [text.strip() for text in found.text]
    for part, ms in latency.by_part.items():
        where = cells.index(part)
        assert cells[where + 1] == f"{ms:.3f}"
        assert cells[where + 2] == f"{ms / latency.ms:.1%}"
    assert "predicted from some-board/torch-eager-fp32-b1-t1" in found.words


def test_verb_writes_the_same_page_again_byte_for_byte_from_the_files_alone(run, searched):
    before = (searched / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert main(["report", f"run={run}"]) == 0
    assert (run / "report.html").read_bytes() == before
    assert main(["report", f"run={run}", f"out={run.parent / 'elsewhere'}"]) == 0
    assert (run.parent / "elsewhere" / "report.html").read_bytes() == before


def test_targets_and_bounds_are_among_the_facts(run):
    prediction = json.loads((run / "predict.json").read_text())
    (run / "predict.json").write_text(json.dumps({**prediction, "low": 1.25, "high": 2.5}))
    genotype = yaml.safe_load((run / "genotype.yaml").read_text())
    genotype["provenance"] |= {"target_latency": 12.5, "target_latency_2": 3.0}
    (run / "genotype.yaml").write_text(yaml.safe_dump(genotype, sort_keys=False))
    assert main(["report", f"run={run}"]) == 0
    words = read(run / "report.html").words.split("\n")
    assert f"{prediction['latency']:.3f} ms, 1.250 to 2.500" in words
    assert words[words.index("predicted rate") + 1].endswith("FPS (400 to 800)")
    for name, value in {"target latency": "12.5 ms", "target latency 2": "3 ms"}.items():
        assert words[words.index(name) :][:2] == [name, value]


def test_parts_of_another_genotype_are_not_shown(run):
    assert main(["derive", f"run={run}"]) == 0  # has no prediction of its own
    assert main(["report", f"run={run}"]) == 0
    found = read(run / "report.html")
    assert "Latency of each part" not in found.words
    assert len(found.pictures) == 2


@pytest.mark.parametrize("cut", [1, 200])
def test_metrics_cut_in_the_middle_of_a_line_are_shown_up_to_there(run, cut):
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-cut])
    (run / "done.json").unlink()
    assert main(["report", f"run={run}"]) == 0
    found = read(run / "report.html")
    assert len(found.pictures) == 2
    assert f"not finished; {2 * STEPS_PER_EPOCH} steps so far" in found.words


@pytest.mark.parametrize(("at", "pictures"), [(0, 0), (STEPS_PER_EPOCH + 1, 2)])
def test_unfinished_search_shows_the_architecture_of_its_last_checkpoint(tmp_path, monkeypatch, at, pictures):
    step = SearchTask.step

    def stopping(self, images, labels, number):
        if number == at:
            raise InterruptedError
        return step(self, images, labels, number)

    monkeypatch.setattr(SearchTask, "step", stopping)
    with pytest.raises(InterruptedError):
        nas.search(search_job(tmp_path / "run", search__relaxation="sampled"))
    assert main(["report", f"run={tmp_path / 'run'}"]) == 0
    found = read(tmp_path / "run" / "report.html")
    assert len(found.pictures) == pictures
    assert f"not finished; {at} steps so far" in found.words
    assert ("no genotype and no checkpoint yet" in found.words) == (at == 0)
    assert ("the argmax of the last checkpoint" in found.words) == (at > 0)


def test_training_shows_evaluation_and_predictions(searched, run_nas, tmp_path):
    job = train_job(searched / "genotype.yaml", "run", train__epochs=1)
    assert run_nas("train", *overrides(job)).status == 0
    data = [argument for argument in overrides(job) if argument.startswith("data.")]
    assert run_nas("eval", "run=run", *data, "pictures=2").status == 0
    outcome = run_nas("report", "run=run")
    assert (outcome.status, outcome.out) == (0, "wrote run/report.html\n")
    found = read(tmp_path / "run" / "report.html")
    assert "nas train: lgcnet on synthetic" in found.words
    shown = found.pictures
    assert [path.read_bytes() for path in sorted((tmp_path / "run" / "predictions").glob("*.png"))] == shown[2:]
    assert len(shown) == 4
    results, _, _ = found.words.partition("Settings")
    assert "3 images of the test split of synthetic" in results
    assert " FPS on some-board/torch-eager-fp32-b1-t1, predicted" in results
    assert "temperature" not in results
    assert "weights: run/weights.safetensors" in results
    assert "other data than those of the training" not in results
    (tmp_path / "run" / "predictions" / "mine.png").write_bytes(b"not of the evaluation")
    assert run_nas("eval", "run=run", "data.size=[40,56]", "split=val", "pictures=1", "checkpoint=last").status == 0
    assert run_nas("report", "run=run").status == 0
    found = read(tmp_path / "run" / "report.html")
    results, _, _ = found.words.partition("Settings")
    assert len(found.pictures) == 3
    assert "2 images of the val split of synthetic at 40x56" in results
    assert " FPS on " not in results, "the genotype states the latency of another size"
    assert "weights: run/checkpoints/last.pt" in results
    assert "other data than those of the training: data.size=[40,56] (training: [48,64])" in results


def test_an_evaluation_of_earlier_weights_is_marked(searched, run_nas, tmp_path):
    job = train_job(searched / "genotype.yaml", "run", train__epochs=1)
    assert run_nas("train", *overrides(job)).status == 0
    assert run_nas("eval", "run=run", "pictures=0").status == 0
    words = []
    for more in ([], ["train.epochs=2", "resume=run"]):
        given = [word for word in overrides(job) if word.split("=")[0] not in [one.split("=")[0] for one in more]]
        assert not more or run_nas("train", *given, *more).status == 0
        assert run_nas("report", "run=run").status == 0
        words.append(read(tmp_path / "run" / "report.html").words)
    assert ["has changed since: these numbers are of earlier weights" in one for one in words] == [False, True]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "which is no folder; give the folder of a nas search or nas train"),
        ({}, "config.yaml: no such file"),
        ({"config.yaml": "verb: train\ndata: {name: x}\n", "eval.json": "{"}, "eval.json: not valid JSON"),
        (
            {"config.yaml": "verb: train\ndata: {name: x}\n", "done.json": "[1]"},
            "done.json: the file: got [1], expected a JSON object",
        ),
        ({"config.yaml": "verb: train\ndata: {name: x}\n", "metrics.jsonl": "oops\n{}\n"}, "metrics.jsonl:1: got b'oops'"),
    ],
)
def test_what_is_no_run_is_status_2_naming_the_file(run_nas, tmp_path, files, said):
    if files is not None:
        (tmp_path / "run").mkdir()
        for name, text in files.items():
            (tmp_path / "run" / name).write_text(text)
    outcome = run_nas("report", "run=run")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert said in outcome.err


def test_texts_are_shown_as_they_are_and_never_as_html():
    nasty = '<script src="http://x">&"'
    parts = [table(["a"], [[nasty]]), folded(nasty, nasty), note(nasty), picture(b"\x89PNG\r\n", nasty)]
    found = Page(page(nasty, [(nasty, "\n".join(parts))]))
    assert "script" not in found.tags
    assert found.text.count(nasty) == 8  # title, two headings, cell, summary and folded text, note, caption
    assert ("alt", nasty) in found.attributes


LONG_RUN = """
import re, sys
from pathlib import Path
from nas.cli import main
status = main(sys.argv[1:])
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(status, int(peak_kb) // 1024, "torch" in sys.modules, file=sys.stderr)
"""
"""Beside the status the peak of this program alone: `ru_maxrss` begins with that of the process that started it."""


def write_long_metrics(path, count: int) -> None:
    """A row a step with one peak of the loss, and an evaluation every thousand steps."""
    with path.open("w") as file:
        for step in range(count):
            loss = 99.5 if step == count // 3 else 1 / (step + 1)
            file.write(f'{{"step": {step}, "epoch": 0, "split": "step", "loss": {loss}, "lr": 0.1, "tau": 1.0, "grad": 0.5}}\n')
            if step % 1000 == 999:
                file.write(
                    f'{{"step": {step}, "epoch": 0, "split": "val", "miou": {0.1234 if step == count - 1 else 0.9}, "loss": 1.0}}\n'
                )


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak memory of a process is read from /proc")
@pytest.mark.parametrize(
    ("count", "most_mb"), [(60_000, 170), pytest.param(1_000_000, 300, marks=pytest.mark.slow)], ids=["long", "million"]
)
def test_the_report_of_a_long_run_needs_the_memory_of_a_short_one(run, count, most_mb):
    write_long_metrics(run / "metrics.jsonl", count)
    done = subprocess.run(
        [sys.executable, "-c", LONG_RUN, "report", f"run={run}"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    status, peak_mb, torch_is_loaded = done.stderr.split()[-3:]
    assert (status, torch_is_loaded) == ("0", "False")
    assert int(peak_mb) < most_mb
    words = read(run / "report.html").words
    assert "0.1234" in words
    (said,) = [line for line in words.split("\n") if line.startswith("shows ")]
    points = 3 * count + count // 1000
    assert re.fullmatch(rf"shows [\d,]+ of {points:,} points: of a curve of more than 1,024 the first, .*", said)
    assert (run / "report.html").stat().st_size < 1_000_000
