"""What a verb shows instead of running a job: its help, its config, Hydra's own help."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys

from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from nas.cli.verb_help import config_groups, help_lines
from nas.errors import ConfigError


def show(verb: str, line: str, app_hydra: Hydra, name: str, args: argparse.Namespace) -> None:
    """Show help or a config; no job runs.

    Args:
        verb: The verb.
        line: What it does, in one line.
        app_hydra: Hydra, started for the verb.
        name: Name of its config.
        args: The flags, one of which asks for something to be shown, and the overrides.

    Raises:
        ConfigError: If Hydra refuses the flags.
    """
    if args.help:
        return _help(verb, line, app_hydra, name, args)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _show_part(app_hydra, name, args)
    except SystemExit as stop:
        if stop.code not in (0, None):
            reason = " ".join(said.getvalue().split()) or f"Hydra stopped with status {stop.code}"
            raise ConfigError(f"{reason}; correct the flags, nas {verb} --hydra-help lists them") from stop
    sys.stderr.write(said.getvalue())


def _show_part(app_hydra: Hydra, name: str, args: argparse.Namespace) -> None:
    """One of what Hydra can show."""
    if args.hydra_help:
        app_hydra.hydra_help(config_name=name, args_parser=get_args_parser(), args=args)
    elif args.cfg:
        app_hydra.show_cfg(name, args.overrides, cfg_type=args.cfg, package=args.package, resolve=args.resolve)
    elif args.shell_completion:
        app_hydra.shell_completion(config_name=name, overrides=args.overrides)
    else:
        app_hydra.show_info(args.info, config_name=name, overrides=args.overrides)


def _help(verb: str, line: str, app_hydra: Hydra, name: str, args: argparse.Namespace) -> None:
    """Print the settings of the verb as given, with their texts."""
    cfg = app_hydra.compose_config(name, args.overrides, RunMode.RUN)
    HydraConfig.instance().set_config(cfg)
    groups = config_groups(app_hydra, cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    if args.resolve:
        OmegaConf.resolve(cfg)
    print("\n".join(help_lines(verb, line, cfg, groups)), flush=True)
