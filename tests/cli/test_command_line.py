"""Command lines: exit status, number of lines on stderr, and what they say. Most in-process, a few as the real command."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from nas.cli import command_line as cli
from nas.cli import verbs
from nas.config.jobs import SearchJob
from nas.errors import FailedCheckError, UserError
from search_spaces import SEARCH_SPACES
from search_spaces.lgcnet.config import LGCNetConfig

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TINY = ("data.size=[64,96]", "data.train=4", "data.val=2", "search.batch_size=2", "latency.table=macs", "deploy.input=[64,96]")
REAL_COMMAND = (sys.executable, "-m", "nas")


def environment() -> dict[str, str]:
    """That of a shell in another folder, to which the checkout is installed."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}


def real(*argv, cwd):
    return subprocess.run(
        [*REAL_COMMAND, *argv], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


EVERY_VERB = [*verbs.VERBS, *(f"{verb} {sub}" for verb, subs in verbs.SUB_VERBS.items() for sub in subs)]

WRONG = {
    "unknown verb": (["searhc"], 1, "did you mean search?"),
    "flag in place of a verb": (["--verbose"], 1, "expected one of the verbs"),
    "sub-verb that does not exist": (["profile", "frobnicate"], 1, "got 'frobnicate', expected KEY=VALUE"),
    "unknown flag": (["search", "--bogus"], 1, "unrecognized arguments: --bogus"),
    "flags that exclude each other": (["search", "--multirun", "--cfg", "job"], 1, "expected one"),
    "flag that would unpickle": (["search", "--experimental-rerun", "x.pickle"], 1, "can run code"),
    "unknown key": (["search", "search.epoch=3"], 1, "search.epoch: there is no such key; did you mean search.epochs?"),
    "unknown key unlike any": (["search", "search.qqq=3"], 1, "the keys of search are epochs, max_steps"),
    "key of another data set": (["train", "data.root=my_data"], 1, "this is data=synthetic, and data=NAME chooses another"),
    "unknown key of a space": (["search", "space.num_cell=3"], 1, "did you mean space.num_cells?"),
    "unknown section": (["search", "sapce.num_cells=3"], 1, "sapce: there is no such key; did you mean space?"),
    "added key": (["search", "+search.foo=1", "latency.table=macs"], 1, "search.foo: there is no such key"),
    "wrong type": (["search", "search.epochs=many"], 1, "search.epochs: got 'many', expected a whole number"),
    "wrong type in a list": (["search", "search.crop=[64,wide]"], 1, "search.crop[1]: got 'wide'"),
    "value out of range": (["search", "search.epochs=0", "latency.table=macs"], 1, "search.epochs: got 0, expected at least 1"),
    "value of the space": (["search", "space.head=fpn", "latency.table=macs"], 1, "space.head: got 'fpn', expected one of"),
    "no list": (
        ["search", "search.passes=default"],
        1,
        "search.passes: got a single value, expected a list: search.passes=[VALUE,...]",
    ),
    "bad group": (["search", "space=foo"], 1, "space: got 'foo', expected one of cas, fasterseg, gas, lgcnet"),
    "bad data group": (
        ["train", "data=imagenet"],
        1,
        "data: got 'imagenet', expected one of bdd100k, camvid, cityscapes, folder, image_folder,",
    ),
    "group left out": (["search", "~space", "latency.table=macs"], 1, "space is missing; give space=lgcnet"),
    "space by its name alone": (["search", "space.name=foo", "latency.table=macs"], 1, "choose it with space=NAME"),
    "unreadable override": (
        ["search", "search.crop=["],
        1,
        "search.crop: cannot read '['; if that is a text, type 'search.crop=\"[\"'",
    ),
    "unreadable text": (
        ["profile", "device=a(b c"],
        1,
        "device: cannot read 'a(b c'; if that is a text, type 'device=\"a(b c\"', and",
    ),
    "open quote": (["search", "out='a b"], 1, "if that is a text, type 'out=\"a b\"', and a list as out=[A,B]"),
    "unreadable key": (["search", "a b=c("], 1, "cannot read 'a b=c(', expected KEY=VALUE"),
    "several values": (
        ["search", "out=a,b"],
        1,
        "are several values; add --multirun to do the job with each of them, or type 'out=\"a,b\"'",
    ),
    "list": (
        ["search", "latency.table=macs", "out=[a]"],
        1,
        "out: got a list, expected a text; one with brackets is typed as 'out=\"[TEXT]\"'",
    ),
    "no such user": (
        ["search", "latency.table=macs", "out=~no-such-user/a"],
        1,
        "out: got '~no-such-user/a', and there is no user",
    ),
    "sweep without --multirun": (["search", "seed=0,1"], 1, "--multirun"),
    "missing table": (["search"], 1, "latency.table is missing; give latency.table=DEVICE/RUNTIME"),
    "missing genotype": (["train"], 1, "genotype is missing; give genotype=FILE"),
    "missing run": (["derive"], 1, "run is missing; give run=FOLDER"),
    "missing root": (["search", "data=camvid", "latency.table=macs"], 1, "data.root"),
    "wrong root": (["search", "data=camvid", "data.root=nowhere", "latency.table=macs"], None, "nowhere"),
    "table path": (["search", *TINY, "latency.table=nowhere/table.json"], None, "nowhere/table.json"),
    "genotype path": (["predict", "genotype=nowhere.yaml", "latency.table=macs"], None, "nowhere.yaml"),
    "run path": (["derive", "run=nowhere"], None, "nowhere"),
    "run to resume": (["search", *TINY, "resume=nowhere"], None, "resume: nowhere has no"),
    "nothing to resume": (["search", *TINY, "resume=auto"], None, "no unfinished nas search"),
    "missing config folder": (["search", "--config-dir", "nowhere"], 1, "nowhere"),
    "missing config": (["search", "--config-name", "nowhere"], 1, "there is no config 'nowhere'"),
}


@pytest.mark.parametrize(("argv", "num_lines", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_status_2_and_a_line_or_two(run_nas, argv, num_lines, message):
    outcome = run_nas(*argv)
    assert outcome.status == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert 1 <= len(outcome.err_lines) <= 2
    assert num_lines in (None, len(outcome.err_lines))
    assert outcome.err.startswith("nas")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_every_verb_on_a_line(run_nas, argv):
    outcome = run_nas(*argv)
    assert (outcome.status, outcome.err) == (0, "")
    for verb in verbs.VERBS:
        assert sum(re.match(rf"  {verb}  +\w", line) is not None for line in outcome.out.splitlines()) == 1
    for verb, subs in verbs.SUB_VERBS.items():
        assert all(f"    {verb} {sub}: " in outcome.out for sub in subs)


def test_version(run_nas):
    outcome = run_nas("--version")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"segnas {cli.nas.__version__}\n", "")


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_verb_help_names_its_keys(run_nas, verb):
    outcome = run_nas(*verb.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"nas {verb} [KEY=VALUE ...]")
    for key in verbs.verb_of(verb).job.__dataclass_fields__:
        assert re.search(rf"^(  {key}=|{key}: )", outcome.out, re.MULTILINE), key


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_cfg_job_prints_the_settings_of_every_verb(run_nas, verb):
    outcome = run_nas(*verb.split(), "--cfg", "job")
    assert (outcome.status, outcome.err) == (0, "")
    assert set(yaml.safe_load(outcome.out)) == set(verbs.verb_of(verb).job.__dataclass_fields__)


def test_cfg_job_shows_overrides_on_either_side_of_the_flag(run_nas):
    settings = yaml.safe_load(run_nas("search", "seed=3", "--cfg", "job", "search.epochs=7", "+out=here").out)
    assert (settings["seed"], settings["search"]["epochs"], settings["out"]) == (3, 7, "here")
    assert settings["space"]["name"] == "lgcnet"
    assert settings["data"]["name"] == "synthetic"


def test_added_config_group_is_composed(run_nas, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\nsearch:\n  epochs: 2\n")
    outcome = run_nas("search", "--config-dir", "mine", "+experiment=short", "--cfg", "job")
    assert (outcome.status, yaml.safe_load(outcome.out)["search"]["epochs"]) == (0, 2)


def test_stage_gets_dataclasses_only(run_nas, stage):
    recorder = stage()
    outcome = run_nas("search", "latency.table=macs", "search.crop=[64,96]", "seed=5")
    assert (outcome.status, outcome.out, outcome.err) == (0, "wrote nothing\nseed 5\n", "")
    (job,) = recorder.jobs
    assert isinstance(job, SearchJob)
    assert isinstance(job.space, LGCNetConfig)
    assert type(job.search.crop) is list
    assert job.out is None


def test_nothing_is_left_in_the_working_folder(run_nas, stage, tmp_path):
    stage()
    assert run_nas("search", "latency.table=macs").status == 0
    assert list(tmp_path.iterdir()) == []


def test_user_error_of_a_stage_is_its_message_alone(run_nas, stage):
    stage(UserError("got a, expected b\ndo c"))
    outcome = run_nas("search", "latency.table=macs")
    assert (outcome.status, outcome.err) == (2, "nas search: got a, expected b\ndo c\n")


def test_failed_check_of_a_stage_is_status_1_and_its_message_alone(run_nas, stage):
    stage(FailedCheckError("got a, expected b"))
    outcome = run_nas("search", "latency.table=macs")
    assert (outcome.status, outcome.err, outcome.out) == (1, "nas search: got a, expected b\n", "")


def test_what_a_failed_check_found_all_the_same_is_printed_before_its_message(run_nas, stage):
    stage(FailedCheckError("got a, expected b", ["found a", "wrote b"]))
    outcome = run_nas("search", "latency.table=macs")
    assert (outcome.status, outcome.err, outcome.out) == (1, "nas search: got a, expected b\n", "found a\nwrote b\n")


def test_any_other_exception_is_status_1_with_its_traceback(run_nas, stage):
    stage(ValueError("a bug"))
    outcome = run_nas("search", "latency.table=macs")
    assert outcome.status == 1
    assert outcome.err_lines[0].startswith("Traceback")
    assert outcome.err_lines[-1] == "ValueError: a bug"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("no room"), "no room"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory\nmore"), "DefaultCPUAllocator"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "Tried to allocate 2 GiB"),
    ],
)
def test_memory_that_runs_out_anywhere_is_status_1_and_a_line(run_nas, stage, error, reason):
    stage(error)
    outcome = run_nas("search", "latency.table=macs")
    assert outcome.status == 1
    [line] = outcome.err_lines
    assert line.startswith("nas search: out of memory (")
    assert reason in line
    assert line.endswith("take smaller images or batches, fewer channels, or a machine with more memory")


def test_an_error_that_ctrl_c_caused_in_a_library_is_status_130(run_nas, monkeypatch):
    def compose(*args, **kwargs):
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("a half made change")

    monkeypatch.setattr("nas.cli.hydra_app.run_app", compose)
    outcome = run_nas("search")
    assert (outcome.status, outcome.err) == (130, "nas search: interrupted\n")


def test_a_message_shows_no_control_characters_and_nothing_endless_whoever_wrote_it(run_nas, stage):
    stage(UserError("got \x1b[2J\x07" + "x" * 10**4 + ", expected y"))
    outcome = run_nas("search", "latency.table=macs")
    [line] = outcome.err_lines
    assert (outcome.status, len(line) < 300) == (2, True)
    assert line.startswith("nas search: got \\x1b[2J\\x07xxx")
    assert line.endswith("x, expected y")


def test_keyboard_interrupt_is_status_130(run_nas, stage):
    stage(KeyboardInterrupt())
    outcome = run_nas("search", "latency.table=macs")
    assert (outcome.status, outcome.err) == (130, "nas search: interrupted\n")


def test_calls_leave_the_process_as_it_was(run_nas, stage, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    before = (list(sys.argv), list(root.handlers), root.level, dict(os.environ), Path.cwd())
    stage(None, UserError("wrong"), KeyboardInterrupt())
    statuses = [run_nas("search", "latency.table=macs").status for _ in range(3)]
    statuses.append(run_nas("search", "space=foo").status)
    statuses.append(run_nas("search", "--help").status)
    assert statuses == [0, 2, 130, 2, 0]
    assert (list(sys.argv), list(root.handlers), root.level, dict(os.environ), Path.cwd()) == before


def test_log_lines_are_printed_once_however_often_main_was_called(run_nas, monkeypatch):
    def log(job):
        del job
        logging.getLogger("nas.test").info("a line")
        return []

    monkeypatch.setitem(verbs.VERBS, "search", verbs.Verb("search", SearchJob, log))
    for _ in range(3):
        assert run_nas("search", "latency.table=macs").out.count("a line") == 1
    quiet = run_nas("search", "latency.table=macs", "hydra.job_logging.root.level=WARNING")
    assert "a line" not in quiet.out


def test_non_empty_out_is_refused_naming_resume_where_that_can_be(run_nas, tmp_path):
    (tmp_path / "full" / "checkpoints").mkdir(parents=True)
    (tmp_path / "full" / "note.txt").touch()
    outcome = run_nas("search", *TINY, "out=full")
    assert outcome.err == "nas search: out: the folder full is not empty; give another out=\n"
    (tmp_path / "full" / "checkpoints" / "last.pt").touch()
    (tmp_path / "full" / "config.yaml").write_text("verb: search\n")
    (tmp_path / "full" / "metrics.jsonl").touch()
    outcome = run_nas("search", *TINY, "out=full")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "resume=full" in outcome.err
    assert "another out=" in outcome.err


def test_help_loads_neither_torch_nor_hydra(tmp_path):
    code = (
        "import sys, nas.cli; status = nas.cli.main(['--help']); "
        "print(sorted({'torch', 'hydra', 'omegaconf', 'numpy', 'yaml'} & set(sys.modules)), status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_real_command_from_another_folder(tmp_path):
    done = real("search", "space=foo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"nas search: space: got 'foo', expected one of {', '.join(sorted(SEARCH_SPACES))}\n"


def test_ctrl_c_saves_a_checkpoint_and_a_parent_process_sees_130(tmp_path):
    argv = ["search", *TINY, "search.epochs=100000", "search.init_channels=2", "out=run"]
    with subprocess.Popen(
        [*REAL_COMMAND, *argv],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        metrics = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines() == ["nas search: interrupted"]
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


@pytest.mark.parametrize("words", [["show", "list=spaces"], []], ids=["a verb", "the usage"])
def test_a_reader_that_goes_away_leaves_no_traceback(words, tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "nas", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


def test_progress_without_a_terminal_is_a_line_at_first_and_then_one_an_interval(caplog):
    now = [0.0]
    tell = verbs.progress_lines("probing", interval_s=10.0, clock=lambda: now[0])
    with caplog.at_level(logging.INFO, logger="nas"):
        for done, at in enumerate((0.0, 4.0, 9.9, 12.0, 13.0, 40.0)):
            now[0] = at
            tell(done, 6)
        now[0] = 60.0
        tell(6, 6)
    assert [record.getMessage() for record in caplog.records] == [
        "probing 0/6, ETA -:--:--",
        "probing 3/6, ETA 0:00:12",
        "probing 5/6, ETA 0:00:08",
    ]
