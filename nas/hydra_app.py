"""A verb as a Hydra app: from a command line to the job dataclass, and back to what went wrong.

Hydra is run with full errors, in-process and repeatably: what it changes globally (`sys.argv`, its environment
variable, the handlers of `logging`, its own singletons) is put back.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from nas.config_errors import explain, unknown_keys
from nas.errors import ConfigError

SweepOut = Literal["always", "given", "never"]
Task = Callable[[Any], None]
"""Does a job, given as its dataclass."""


@dataclass(frozen=True, slots=True)
class JobFailure:
    """A job that raised.

    Args:
        job: Number of the job and its overrides under --multirun; empty otherwise.
        error: What it raised; a `ConfigError` if the job could not even be composed.
    """

    job: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbApp:
    """What Hydra needs to know of a verb.

    Args:
        verb: Name of the verb, with that of a sub-verb behind it.
        schema: The job dataclass.
        groups: Config group -> choice -> dataclass.
        conf_dir: Absolute path of the config folder.
        sub_verbs: What may stand behind the verb.
        sweep_out: When --multirun gives each job its own folder as `out`: always, if `out` is given, or never.
    """

    verb: str
    schema: type[Any]
    groups: Mapping[str, Mapping[str, type[Any]]]
    conf_dir: Path
    sub_verbs: tuple[str, ...] = ()
    sweep_out: SweepOut = "always"

    @property
    def config_name(self) -> str:
        """Name of its YAML in `conf_dir`."""
        return self.verb.replace(" ", "_")


def run_app(app: VerbApp, argv: Sequence[str], task: Task, *, on_failure: Callable[[JobFailure], None]) -> None:
    """Compose one job, or several with --multirun, and do each; a job that raises does not stop the others.

    Args:
        app: The verb.
        argv: Hydra flags and overrides.
        task: Called with the job dataclass.
        on_failure: Called as soon as a job has failed.

    Raises:
        ConfigError: If the command line or the config is wrong.
    """
    arguments = _checked_arguments(app, argv)
    _register(app)

    def run_job(cfg: DictConfig) -> None:
        try:
            task(_job(cfg, app))
        except Exception as error:  # noqa: BLE001  every failure is reported; the next job of a sweep still runs
            on_failure(JobFailure(_job_name(), error))

    with _put_back(app.verb, arguments):
        try:
            hydra.main(config_path=str(app.conf_dir), config_name=app.config_name, version_base="1.3")(run_job)()
        except SystemExit as stop:
            if stop.code not in (0, None):
                raise RuntimeError(f"Hydra stopped with status {stop.code}") from stop
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            raise ConfigError(message) from error


def _job(cfg: DictConfig, app: VerbApp) -> Any:  # noqa: ANN401
    """The dataclass of a composed config; under --multirun with a folder of its own."""
    if (unknown := unknown_keys(cfg)) is not None:
        raise ConfigError(unknown)
    try:
        job: Any = OmegaConf.to_object(cfg)
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise ConfigError(message) from error
    if _in_sweep() and _wants_folder(job, app.sweep_out):
        sweep = HydraConfig.get().sweep
        job.out = f"{sweep.dir}/{sweep.subdir}"
    return job


def _wants_folder(job: Any, sweep_out: SweepOut) -> bool:  # noqa: ANN401
    """Whether --multirun chooses the folder of this job; the folder of a run to resume is chosen already."""
    if getattr(job, "resume", None) is not None or sweep_out == "never":
        return False
    return sweep_out == "always" or job.out is not None


def _in_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _job_name() -> str:
    if not _in_sweep():
        return ""
    return f"job {HydraConfig.get().job.num} ({' '.join(HydraConfig.get().overrides.task)})"


def _checked_arguments(app: VerbApp, argv: Sequence[str]) -> list[str]:
    """Refuse what Hydra's parser would refuse in many lines; move the overrides before the flags, as it wants them.

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
    flags = list(argv)
    for word in args.overrides:
        flags.remove(word)
    return [*args.overrides, *flags]


def _register(app: VerbApp) -> None:
    """Make the dataclasses known to Hydra; registering again replaces."""
    store = ConfigStore.instance()
    store.store(name=f"schema_{app.config_name}", node=app.schema)
    for group, choices in app.groups.items():
        for name, schema in choices.items():
            store.store(group=group, name=f"schema_{name}", node=schema)
            if not (app.conf_dir / group / f"{name}.yaml").is_file():
                store.store(group=group, name=name, node=schema)
    OmegaConf.register_new_resolver("sweep_dir", _sweep_dir, replace=True)


def _sweep_dir(out: str | None, now: str) -> str:
    return f"runs/multirun-{now}" if out is None else str(out)


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
