from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from nas.config.jobs import SearchJob, TrainJob
from nas.config.settings import LatencySettings, SearchSettings, TrainerSettings
from nas.data.folder import FolderConfig
from nas.errors import ConfigError
from nas.files.atomic import temporary_beside
from nas.runs import run_config, rundir
from nas.runs.checkpoint import save_checkpoint
from search_spaces.lgcnet.config import LGCNetConfig


def search_job(**settings):
    return SearchJob(**{"space": LGCNetConfig(num_cells=14), "data": LGCNetConfig(), **settings})


@pytest.fixture(autouse=True)
def _work_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def open_run(job, verb, **rest):
    """The folder, given back at once."""
    with rundir.open_run(job, verb, **rest) as folder:
        return folder


def held_out(out):
    with rundir.held_out(out, "eval") as folder:
        return folder


def stop_after_checkpoint(folder):
    save_checkpoint(folder / rundir.CHECKPOINT, {"loop": {"step": 1}})
    (folder / rundir.METRICS).touch()
    return folder


def test_fresh_folders_of_the_same_second_differ():
    folders = [rundir.fresh("search") for _ in range(5)]
    assert len(set(folders)) == 5
    assert all(folder.is_dir() and folder.parent.name == "runs" and folder.name.startswith("search-") for folder in folders)


def test_out_is_made_with_its_parents(tmp_path):
    assert held_out("a/b").resolve() == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


def test_empty_out_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    assert held_out("a").is_dir()


@pytest.mark.parametrize("verb", ["search", "eval", "export", "derive", "report", "profile validate", "predict"])
def test_out_with_something_in_it_is_refused_without_a_resume_that_cannot_be(verb, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "note.txt").touch()
    if verb != "search":
        stop_after_checkpoint(tmp_path / "a")
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(ConfigError, match=r"^out: the folder a is not empty; give another out=$"),
        rundir.held_out("a", verb),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_out_with_a_run_in_it_is_refused_with_a_remedy_that_works():
    folder = stop_after_checkpoint(open_run(search_job(out="a b"), "search"))
    with pytest.raises(ConfigError, match=r"""folder a b is not empty; go on .* by 'resume="a b"', or give another out=$"""):
        open_run(search_job(out="a b"), "search")
    assert open_run(search_job(resume="a b"), "search") == folder


def test_out_with_a_run_that_has_no_checkpoint_and_resume_do_not_send_to_each_other():
    folder = open_run(search_job(out="a"), "search")
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    for job in (search_job(out="a"), search_job(resume="a")):
        with pytest.raises(ConfigError, match=r"start it again by out=a resume=auto"):
            open_run(job, "search")
    assert (folder / "metrics.jsonl").exists()
    assert open_run(search_job(out="a", resume="auto"), "search") == folder
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_auto_beside_out_serves_the_first_start_and_takes_new_settings_before_the_first_checkpoint():
    folder = open_run(search_job(out="a", resume="auto"), "search")
    assert open_run(search_job(out="a", resume="auto", seed=1), "search") == folder
    stop_after_checkpoint(folder)
    with pytest.raises(ConfigError, match=r"a has other settings: seed \(run: 1, now: 2\)"):
        open_run(search_job(out="a", resume="auto", seed=2), "search")
    assert open_run(search_job(out="a", resume="auto", seed=1), "search") == folder


@pytest.mark.parametrize("name", ["note.txt", "weights.safetensors", "done.json"])
def test_auto_beside_out_leaves_a_folder_alone_that_is_no_stopped_run(name):
    folder = open_run(search_job(out="a"), "search")
    if name == "note.txt":
        (folder / "config.yaml").unlink()
    (folder / name).touch()
    with pytest.raises(ConfigError, match="not empty; give another out="):
        open_run(search_job(out="a", resume="auto"), "search")
    (folder / name).unlink()


def test_a_run_of_another_verb_is_not_started_over():
    open_run(search_job(out="a"), "search")
    with pytest.raises(ConfigError, match="not empty; give another out="):
        open_run(TrainJob(genotype="g.yaml", data=LGCNetConfig(), out="a", resume="auto"), "train")


@pytest.mark.parametrize("given", [{"out": "a"}, {"out": "a", "resume": "auto"}, {"resume": "a"}])
def test_a_run_that_another_writes_to_is_refused_naming_it(given):
    stop_after_checkpoint(open_run(search_job(out="a"), "search"))
    with rundir.open_run(search_job(resume="a"), "search"):
        before = sorted(path.name for path in Path("a").rglob("*"))
        with pytest.raises(
            ConfigError, match=rf"^the folder a is being written by nas search \(process {os.getpid()} on .*another"
        ):
            open_run(search_job(**given), "search")
        assert sorted(path.name for path in Path("a").rglob("*")) == before
    assert not (Path("a") / rundir.LOCK).exists()


def test_results_are_added_to_a_run_that_goes_on_by_one_at_a_time():
    with (
        rundir.open_run(search_job(out="a"), "search"),
        rundir.held_out(None, "derive", run="a"),
        pytest.raises(ConfigError, match=rf"^the folder a is being written by nas derive \(process {os.getpid()} on .*another"),
        rundir.held_out(None, "report", run="a"),
    ):
        raise AssertionError("two verbs write results at a time")
    assert not list(Path("a").glob("*.lock"))
    assert not list(Path("a").glob(".*lock"))


def test_results_go_into_their_run_or_into_a_folder_of_their_own():
    open_run(search_job(out="a"), "search")
    with rundir.held_out(None, "derive", run="a") as folder:
        assert folder == Path("a")
    with rundir.held_out("b", "derive", run="a") as folder:
        assert folder == Path("b")
    with rundir.held_out(None, "profile validate") as folder:
        assert folder.name.startswith("validate-")


def test_of_a_folder_in_use_it_is_said_first_who_writes_there_with_a_remedy_that_works():
    with rundir.open_run(search_job(out="a"), "search") as folder:
        save_checkpoint(folder / rundir.CHECKPOINT, {"step": 1})
        (folder / rundir.METRICS).touch()
        with pytest.raises(ConfigError, match="a is being written by nas search .*or give another folder by out=$"):
            rundir.check_out("a", "search")
        with pytest.raises(ConfigError, match="or start a new run, with another out= and without resume=$"):
            open_run(search_job(resume="a"), "search")
        with pytest.raises(ConfigError, match="or give another folder by out=$"):
            open_run(search_job(resume="auto", out="a"), "search")
    with pytest.raises(ConfigError, match="not empty; go on with the run in it by resume=a,"):
        rundir.check_out("a", "search")


def test_a_run_whose_metrics_have_gone_is_none_to_go_on_with():
    folder = open_run(search_job(out="a"), "search")
    save_checkpoint(folder / rundir.CHECKPOINT, {"step": 1})
    with pytest.raises(ConfigError, match="a is not empty; give another out=$"):
        rundir.check_out("a", "search")


def test_what_a_killed_process_left_under_a_temporary_name_makes_no_folder_full():
    Path("a").mkdir()
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    name = temporary_beside(Path("a") / "eval.json").name.replace(f"-{os.getpid()}.", f"-{killed.stdout.strip()}.")
    (Path("a") / name).touch()
    rundir.check_out("a", "eval")
    with rundir.held_out("a", "eval"):
        assert not (Path("a") / name).exists()


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match="a is a file, expected a folder"):
        held_out("a")


@pytest.mark.parametrize("name", [run_config.CONFIG, rundir.METRICS, rundir.CHECKPOINT])
def test_a_run_that_lost_a_file_does_not_count_as_finished(name):
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match="removed while the run worked"):
        rundir.mark_finished(folder, {})
    assert not (folder / rundir.FINISHED).exists()


def test_resume_takes_the_run_back_and_unmarks_it_as_finished():
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    rundir.mark_finished(folder, {"seconds": 1.5})
    longer = search_job(search=SearchSettings(epochs=90), trainer=TrainerSettings(threads=1), resume=str(folder))
    assert open_run(longer, "search") == folder
    assert run_config.load_config(folder)["search"]["epochs"] != 90, "before the checkpoint is taken up, nothing changes"
    assert (folder / rundir.FINISHED).exists()
    rundir.go_on(folder, longer, "search")
    assert run_config.load_config(folder)["search"]["epochs"] == 90
    assert rundir.is_resumable(folder)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"seed": 1}, r"seed \(run: 0, now: 1\)"),
        ({"search": SearchSettings(tau_end=0.1)}, r"search.tau_end \(run: 0.03, now: 0.1\)"),
        ({"trainer": TrainerSettings(precision="bf16-mixed")}, "trainer.precision"),
        ({"search": SearchSettings(max_steps=3)}, r"search.max_steps \(run: null, now: 3\)"),
        ({"search": SearchSettings(crop=[4, 6])}, r"search.crop \(run: null, now: \[4,6\]\)"),
        ({"trainer": TrainerSettings(sync_batch_norm=False)}, r"trainer.sync_batch_norm \(run: true, now: false\)"),
    ],
)
def test_resume_with_other_settings_names_the_keys(changed, key):
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    before = (folder / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=key) as caught:
        open_run(search_job(resume=str(folder), **changed), "search")
    assert "search.epochs" not in str(caught.value)
    assert (folder / "config.yaml").read_bytes() == before


def test_resume_of_another_verbs_run_is_refused():
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    job = TrainJob(genotype="g.yaml", data=LGCNetConfig(), resume=str(folder))
    with pytest.raises(ConfigError, match=r"verb \(run: search, now: train\)"):
        open_run(job, "train")


def test_resume_without_a_checkpoint_is_refused():
    folder = open_run(search_job(), "search")
    with pytest.raises(ConfigError, match=r"has no checkpoints/last\.pt"):
        open_run(search_job(resume=str(folder)), "search")


def test_resume_beside_another_out_is_refused():
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    with pytest.raises(ConfigError, match="expected the same folder"):
        open_run(search_job(resume=str(folder), out="elsewhere"), "search")
    assert open_run(search_job(resume=str(folder), out=str(folder.resolve())), "search") == folder


def test_auto_takes_the_newest_unfinished_run_with_these_settings():
    def run(modified, **settings):
        folder = stop_after_checkpoint(open_run(search_job(**settings), "search"))
        os.utime(folder / rundir.CHECKPOINT, (modified, modified))
        return folder

    wanted = run(300)
    run(200)
    run(400, seed=1)
    rundir.mark_finished(run(500), {})
    open_run(search_job(), "search")
    assert open_run(search_job(resume="auto"), "search") == wanted


def test_auto_passes_over_what_it_cannot_read_and_says_so(caplog):
    wanted, config, checkpoint = (stop_after_checkpoint(open_run(search_job(), "search")) for _ in range(3))
    (config / run_config.CONFIG).write_text("a: &a [x]\nb: *a\n")
    (checkpoint / rundir.CHECKPOINT).write_bytes(b"torn")
    os.utime(wanted / rundir.CHECKPOINT, (1, 1))
    assert open_run(search_job(resume="auto"), "search") == wanted
    assert [record.getMessage().partition(": passed over ")[2].split(": ")[0] for record in caplog.records] == [
        str(config),
        str(checkpoint / rundir.CHECKPOINT),
    ]


def test_auto_finds_the_jobs_of_a_sweep():
    folder = stop_after_checkpoint(open_run(search_job(out="runs/multirun-1/0"), "search"))
    assert rundir.find_resumable(rundir.RUNS, "search", search_job()) == folder


def test_auto_beside_out_means_that_folder():
    folder = stop_after_checkpoint(open_run(search_job(out="here"), "search"))
    assert open_run(search_job(out="here", resume="auto"), "search") == folder


def test_auto_without_a_match_says_so_and_makes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no unfinished nas search with these settings"):
        open_run(search_job(resume="auto"), "search")
    assert not list(tmp_path.iterdir())


def test_tuples_and_lists_are_the_same_setting():
    folder = stop_after_checkpoint(open_run(search_job(search=SearchSettings(crop=[4, 6])), "search"))
    again = search_job(search=SearchSettings(crop=(4, 6)), resume=str(folder))  # type: ignore[arg-type]
    assert open_run(again, "search") == folder


@pytest.mark.parametrize("root", ["~/data", "~no-such-user/data"])
def test_a_run_of_before_with_the_home_folder_in_its_paths_is_resumed(root, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    job = partial(search_job, data=FolderConfig(root="~/data"), latency=LatencySettings(table=["~/a.json", "macs"]))
    folder = stop_after_checkpoint(open_run(job(), "search"))
    config = run_config.load_config(folder)
    config["data"]["root"], config["latency"]["table"] = root, ["~/a.json", "macs"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    again = job(resume=str(folder))
    if root == "~/data":
        assert open_run(again, "search") == folder
        return
    with pytest.raises(ConfigError, match=rf"other settings: data\.root \(run: {root}, now: {tmp_path}/data\); give"):
        open_run(again, "search")


@pytest.mark.parametrize("section", ["search", "space"])
def test_a_setting_that_a_run_does_not_know_had_its_default(section):
    key, default, other = {"search": ("loss", "cross_entropy", "ohem"), "space": ("head", "dcfc", "none")}[section]
    folder = stop_after_checkpoint(open_run(search_job(), "search"))
    config = run_config.load_config(folder)
    assert config[section].pop(key) == default
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    again = search_job(resume=str(folder))
    setattr(getattr(again, section), key, other)
    with pytest.raises(ConfigError, match=rf"{section}\.{key} \(run: {default}, now: {other}\)"):
        open_run(again, "search")
    assert open_run(search_job(resume=str(folder)), "search") == folder


def test_a_run_is_not_ended_before_where_it_is():
    folder = open_run(search_job(search=SearchSettings(epochs=9)), "search")
    save_checkpoint(folder / rundir.CHECKPOINT, {"loop": {"step": 12}})
    before = (folder / "config.yaml").read_bytes()
    fewer = search_job(search=SearchSettings(epochs=3), resume=str(folder))
    with pytest.raises(
        ConfigError, match=r"search\.epochs: got 3, which are 9 steps, and .* has done 12 already \(of 9 epochs\); give"
    ):
        open_run(fewer, "search", total_steps=9)
    assert (folder / "config.yaml").read_bytes() == before
    assert open_run(fewer, "search", total_steps=12) == folder


def refused(out: str | None, *files: str) -> Path:
    """The folder of results of a verb that writes some files and then refuses its input."""
    with rundir.held_out(out, "bench") as folder:
        refused.folder = folder
        for name in files:
            (folder / name).write_text("{}")
        raise ConfigError("wrong")


@pytest.mark.parametrize("out", [None, "new"])
def test_a_folder_made_for_input_that_is_refused_goes_again_unless_something_is_in_it(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="wrong"):
        refused(out)
    assert not refused.folder.exists()
    with pytest.raises(ConfigError, match="wrong"):
        refused(out, "part.json")
    assert [path.name for path in refused.folder.iterdir()] == ["part.json"]
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="wrong"):
        refused("mine")
    assert (tmp_path / "mine").is_dir()
