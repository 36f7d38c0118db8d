"""A verb as a Hydra app: from a command line to the job dataclass, and back to what went wrong.

Hydra is run with full errors, in-process and repeatably: what it changes globally (`sys.argv`, its environment
variable, the handlers of `logging`, its own singletons) is put back.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import validate_config_path
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nas.cli.composing_errors import explain, unknown_keys
from nas.cli.hydra_shows import show
from nas.cli.path_words import quoted_paths
from nas.cli.recipes import GROUP as RECIPES
from nas.cli.recipes import check_space, read_recipes
from nas.cli.run_settings import loader_of
from nas.cli.sweeps import ENDING_WITH_COMMAND, HERE, INTERRUPTED, JobResult, lost_job, marked_output, patient, stoppable
from nas.devices.parent_death import end_with_parent
from nas.devices.path_settings import in_home
from nas.errors import ConfigError
from nas.files.command_words import override
from search_spaces import all_spaces

HYDRA = "1.3"
"""The version of Hydra whose defaults hold."""
OF_A_SWEEP = ("hydra.mode=", "hydra.sweep", "hydra/sweeper=", "hydra/launcher=", "hydra.launcher.", "hydra.job.")
"""Beginnings of overrides that have done their work once a job of a sweep runs."""

SweepOut = Literal["always", "given", "never"]


class Work(Protocol):
    """Work of a verb on a job; under --multirun it may go to other processes, pickled."""

    def do(self, job: Any, name: str) -> JobResult:  # noqa: ANN401
        """Do a job, given as its dataclass; `name` is its number and its overrides under --multirun, empty otherwise."""

    def failed(self, error: Exception, name: str) -> JobResult:
        """The result of a job that raised, or could not even be composed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbApp:
    """Facts of a verb for Hydra.

    Args:
        verb: Name of the verb, followed by that of a sub-verb.
        line: What it does, in one line.
        schema: The job dataclass.
        groups: Config group -> choice -> dataclass.
        conf_dir: Absolute path of the config folder.
        recipe_keys: Sections and settings that a recipe may hold for this verb or another; empty: the verb takes none.
        sub_verbs: Words that may follow the verb.
        sweep_out: When --multirun gives each job its own folder as `out`: always, if `out` is given, or never.
    """

    verb: str
    line: str = ""
    schema: type[Any]
    groups: Mapping[str, Mapping[str, type[Any]]]
    conf_dir: Path
    recipe_keys: tuple[str, ...] = ()
    sub_verbs: tuple[str, ...] = ()
    sweep_out: SweepOut = "always"

    @property
    def config_name(self) -> str:
        """Name of its YAML in `conf_dir`."""
        return self.verb.replace(" ", "_")


def run_app(app: VerbApp, argv: Sequence[str], work: Work, *, tell: Callable[[JobResult], None]) -> None:
    """Compose one job, or several with --multirun, and do each; a job that raises does not stop the others.

    Args:
        app: The verb.
        argv: Hydra flags and overrides.
        work: What does a job.
        tell: Called with the result of each job, in their order: as soon as the job has ended if it ran in this process, and when
            all have ended if they ran in others.

    Raises:
        ConfigError: If the command line or the config is wrong.
        LostProcessError: If another process ended without a result.
        KeyboardInterrupt: On Ctrl-C; after all jobs have ended, if they ran in other processes.
    """
    arguments = _checked_arguments(app, argv)
    _register(app, get_args_parser().parse_args(arguments))
    with _put_back(app.verb, arguments):
        try:
            results = _run(app, arguments, _TaskHere(app, work, tell))
        except Exception as error:
            if (lost := lost_job(error)) is not None:
                raise lost from error
            message = explain(error)
            if message is None:
                raise
            raise ConfigError(message) from error
    for result in results:
        tell(replace(result, lines=(f"{result.job}:", *result.lines)) if result.lines else result)
    if any(result.status == INTERRUPTED for result in results):
        raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class _TaskHere:
    """A job in the process of the command."""

    app: VerbApp
    work: Work
    tell: Callable[[JobResult], None]

    def __call__(self, cfg: DictConfig) -> None:
        name = _job_name()
        try:
            self.tell(self.work.do(_job(cfg, self.app), name))
        except Exception as error:  # noqa: BLE001  every failure is reported; the next job of a sweep still runs
            self.tell(self.work.failed(error, name))

    def __reduce__(self) -> tuple[type[_TaskElsewhere], tuple[VerbApp, Work, int]]:
        """State that a launcher pickles for another process."""
        return _TaskElsewhere, (self.app, self.work, os.getpid())


@dataclass(frozen=True, slots=True)
class _TaskElsewhere:
    """A job in a process that a launcher started; its result goes back, whatever happens.

    Args:
        app: The verb.
        work: What does the job.
        starter: The process of the command.
    """

    app: VerbApp
    work: Work
    starter: int

    def __call__(self, cfg: DictConfig) -> JobResult:
        if HydraConfig.get().runtime.choices["hydra/launcher"] in ENDING_WITH_COMMAND:
            end_with_parent(self.starter)
        name = _job_name()
        with marked_output(f"job {HydraConfig.get().job.num}: "):
            try:
                with stoppable():
                    return self.work.do(_job(cfg, self.app), name)
            except KeyboardInterrupt:
                return JobResult(name, INTERRUPTED)
            except Exception as error:  # noqa: BLE001  reported where the command runs
                return self.work.failed(error, name)


def _run(app: VerbApp, arguments: Sequence[str], task: _TaskHere) -> list[JobResult]:
    """Do what `hydra.main` does with a command line, and return the results of jobs in other processes, which it throws away."""
    args = get_args_parser().parse_args(arguments)
    version.setbase(HYDRA)
    app_hydra = Hydra(app.config_name, loader_of(app.schema, _search_path(app, args)))
    GlobalHydra.instance().initialize(app_hydra)
    name = args.config_name or app.config_name
    if args.help or args.hydra_help or args.cfg or args.shell_completion or args.info is not None:
        show(app.verb, app.line, app_hydra, name, args)
        return []
    cfg = _composed_for_sweep(app_hydra, name, args) if _may_sweep(args) else None
    if cfg is None:
        app_hydra.run(config_name=name, task_function=task, overrides=[*args.overrides, "hydra.mode=RUN"])
        return []
    overrides = [*args.overrides, "hydra.mode=MULTIRUN"]
    if cfg.hydra.runtime.choices["hydra/launcher"] == HERE:
        app_hydra.multirun(config_name=name, task_function=task, overrides=overrides)
        return []
    with patient():
        batches = app_hydra.multirun(config_name=name, task_function=task, overrides=overrides)
    results = [job.return_value for batch in batches for job in batch]
    return [result for result in results if result is not None]  # joblib with one process runs jobs here, where each was reported


def _may_sweep(args: argparse.Namespace) -> bool:
    """Whether a command line may ask for a sweep; no config of ours does, so that one that cannot is composed once."""
    own_config = args.config_dir or args.config_path or args.config_name
    return bool(args.multirun or own_config or any("hydra" in word for word in args.overrides))


def _composed_for_sweep(app_hydra: Hydra, name: str, args: argparse.Namespace) -> DictConfig | None:
    """The config of a sweep, of which each job composes its own; None: there is one job."""
    cfg = app_hydra.compose_config(name, args.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    return cfg if args.multirun or cfg.hydra.mode == RunMode.MULTIRUN else None


def _search_path(app: VerbApp, args: argparse.Namespace) -> Any:  # noqa: ANN401
    """Search path of configs, as `hydra.main` has it."""
    path = args.config_path or str(app.conf_dir)
    validate_config_path(path)
    search_path = create_automatic_config_search_path(None, __name__, path)
    if args.config_dir is not None:
        folder = Path(in_home(args.config_dir)).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: there is no folder {folder}")
        search_path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    # What a verb takes from a recipe stands in the config store, and goes before the file with the settings of all verbs. Under any
    # other name Hydra would take what it finds there for files that want a schema.
    search_path.prepend(provider="schema", path="structured://", anchor=SearchPathQuery(provider="main"))
    return search_path


def own_arguments(argv: Sequence[str], out: str | None) -> list[str]:
    """The command line that does what the running job of a sweep does, and nothing else.

    Args:
        argv: Flags and overrides of the sweep.
        out: Folder of the job.
    """
    given = HydraConfig.get().overrides
    kept = [word for word in given.hydra if not word.lstrip("+~").startswith(OF_A_SWEEP)]
    words = [word for word in given.task if word.lstrip("+").partition("=")[0] != "out"]
    if out is not None:
        words.append(override("out", out))
    args = get_args_parser().parse_intermixed_args(list(argv))
    flags = {"--config-path": args.config_path, "--config-name": args.config_name, "--config-dir": args.config_dir}
    return [*words, *kept, *(word for flag, value in flags.items() if value is not None for word in (flag, value))]


def in_sweep() -> bool:
    """Whether the running job is one of --multirun."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _job(cfg: DictConfig, app: VerbApp) -> Any:  # noqa: ANN401
    """The dataclass of a composed config; under --multirun with a folder of its own."""
    if (unknown := unknown_keys(cfg)) is not None:
        raise ConfigError(unknown)
    hydra = HydraConfig.get()
    check_space(hydra.runtime.choices, hydra.overrides.task, all_spaces())
    try:
        job: Any = OmegaConf.to_object(cfg)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ConfigError(message) from error
    if in_sweep() and _wants_folder(job, app.sweep_out):
        sweep = HydraConfig.get().sweep
        job.out = f"{sweep.dir}/{sweep.subdir}"
    return job


def _wants_folder(job: Any, sweep_out: SweepOut) -> bool:  # noqa: ANN401
    """Whether --multirun chooses the folder of this job; the folder of a run to resume is chosen already."""
    resume = getattr(job, "resume", None)
    if sweep_out == "never" or (resume is not None and (resume != "auto" or job.out is None)):
        return False
    return sweep_out == "always" or job.out is not None


def _job_name() -> str:
    if not in_sweep():
        return ""
    return f"job {HydraConfig.get().job.num} ({' '.join(HydraConfig.get().overrides.task)})"


def _checked_arguments(app: VerbApp, argv: Sequence[str]) -> list[str]:
    """Refuse what Hydra's parser would refuse in many lines; quote paths; move the overrides before the flags, as it wants them.

    Raises:
        ConfigError: For an unknown flag, a word that is no override, or flags that exclude each other.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            args = get_args_parser().parse_intermixed_args(list(argv))
    except SystemExit as stop:
        if not stop.code:
            raise
        reason = errors.getvalue().strip().rpartition("error: ")[2]
        raise ConfigError(f"{reason}; nas {app.verb} --hydra-help lists the flags") from stop
    for word in args.overrides:
        if "=" not in word and not word.startswith("~"):
            subs = f"its sub-verbs are {', '.join(app.sub_verbs)}" if app.sub_verbs else "it has no sub-verbs"
            raise ConfigError(f"got {word!r}, expected KEY=VALUE; {subs}, and nas {app.verb} --help lists its keys")
    if args.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun would unpickle a file, which can run code; give the overrides instead")
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("got --resolve alone, expected it beside --cfg or --help")
    if sum(map(bool, (args.run, args.cfg, args.multirun, args.shell_completion, args.info))) > 1:
        raise ConfigError("got several of --run, --multirun, --cfg, --info, --shell-completion, expected one")
    flags = [word for word in argv if word not in args.overrides]
    words = [_without_group(word, app) for word in args.overrides]
    return [*quoted_paths(words, app.schema, app.groups, sweep=args.multirun), *flags]


def _without_group(word: str, app: VerbApp) -> str:
    """The override; GROUP=null, which Hydra takes in a defaults list alone, in the words that it takes here."""
    group, _, choice = word.partition("=")
    return f"~{group}" if choice.lower() == "null" and group in (*app.groups, *([RECIPES] if app.recipe_keys else [])) else word


def _register(app: VerbApp, args: argparse.Namespace) -> None:
    """Make the dataclasses and the recipes known to Hydra; registering again replaces.

    Raises:
        ConfigError: If a recipe is wrong, or one is chosen that holds nothing for the verb.
    """
    store = ConfigStore.instance()
    store.repo.pop(RECIPES, None)
    if app.recipe_keys:
        folders = [
            Path(in_home(str(folder))) for folder in (args.config_dir, args.config_path or app.conf_dir) if folder is not None
        ]
        fields = [field.name for field in dataclasses.fields(app.schema)]
        recipes = read_recipes(folders, fields, app.recipe_keys)
        recipes.check(args.overrides)
        for name, config in recipes.configs.items():
            store.store(group=RECIPES, name=name, node=config, package="_global_")
    _register_schema(None, f"schema_{app.config_name}", app.schema)
    for group, choices in app.groups.items():
        for name, schema in choices.items():
            _register_schema(group, f"schema_{name}", schema)
            if not (app.conf_dir / group / f"{name}.yaml").is_file():
                _register_schema(group, name, schema)
    _register_resolvers()


def _register_schema(group: str | None, name: str, schema: type[Any]) -> None:
    """Make a dataclass known to Hydra, which reads all of its fields, unless it is known by that name already."""
    store = ConfigStore.instance()
    known = store.repo if group is None else store.repo.get(group, {})
    if f"{name}.yaml" not in known or OmegaConf.get_type(known[f"{name}.yaml"].node) is not schema:
        store.store(group=group, name=name, node=schema)


def _sweep_dir(out: str | None, now: str) -> str:
    return f"runs/multirun-{now}" if out is None else in_home(str(out))


def _own_recipe(space: str) -> str:
    """The recipe of a space's searches unless another one is chosen."""
    entry = all_spaces().get(space)
    return space if entry is None or entry.recipe is None else entry.recipe


def _register_resolvers() -> None:
    """Make what `conf/` calls known, also in processes of a launcher, which import this module and compose their jobs."""
    OmegaConf.register_new_resolver("sweep_dir", _sweep_dir, replace=True)
    OmegaConf.register_new_resolver("own_recipe", _own_recipe, replace=True)


_register_resolvers()


@contextlib.contextmanager
def _put_back(verb: str, arguments: Sequence[str]) -> Iterator[None]:
    """Set what Hydra reads from the process, and restore everything that it changes there."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    GlobalHydra.instance().clear()
    sys.argv = [f"nas {verb}", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
