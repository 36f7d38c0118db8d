"""Refusals of Hydra and OmegaConf, in one or two lines: what was got, what was expected, what to do."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from nas.errors import UserError
from nas.files.command_words import setting

HOW_TO_GIVE = {
    "data": "data=synthetic",
    "data.root": "data.root=FOLDER, where the data set lies",
    "file": "file=FILE, the table to import",
    "genotype": "genotype=FILE, a published name, or a run with a genotype.yaml",
    "latency.table": "latency.table=DEVICE/RUNTIME as nas profile measures it, a file, macs or none",
    "run": "run=FOLDER of an earlier run",
    "space": "space=lgcnet",
}
"""Mandatory key -> how to give it."""

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
"""Names of types in OmegaConf -> words for them."""

LAUNCHERS = {
    "joblib": "pip install 'segnas[sweeps]'",
    "submitit_local": "pip install 'segnas[sweeps]'",
    "submitit_slurm": "pip install 'segnas[sweeps]'",
    "ray": "pip install hydra-ray-launcher",
    "ray_aws": "pip install hydra-ray-launcher",
}
"""Launchers of sweeps that do not come with Hydra -> how to install them."""

QUOTES = "\"'"
_SEVERAL = re.compile(r"Ambiguous value for argument '(.*?)'\n1\.", re.DOTALL)

SCHEMA_PREFIX = "schema_"
"""Choices of a config group that are only there for its YAML files to build on."""


def explain(error: BaseException) -> str | None:
    """The message for the user if the user can correct an error of composing a config; None if it is a bug.

    Args:
        error: What Hydra or OmegaConf raised, directly or as a wrapper of what a dataclass said in `__post_init__`.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    for link in chain:
        if (message := _explain_one(link)) is not None:
            return message
    if any(isinstance(link, HydraException | OmegaConfBaseException | yaml.YAMLError) for link in chain):
        return " ".join(str(error).split())
    return None


def unknown_keys(cfg: DictConfig, prefix: str = "") -> str | None:
    """A message for the first key that its dataclass does not have, as `+KEY=VALUE` can add; None if there is none."""
    schema = OmegaConf.get_type(cfg)
    known = [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else None
    for key in map(str, cfg):
        if known is not None and key not in known:
            return _no_such_key(f"{prefix}{key}", known)
        child = cfg._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            found = unknown_keys(child, f"{prefix}{key}.")
            if found is not None:
                return found
    return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a typing error could have turned into this one."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def _explain_one(error: BaseException) -> str | None:
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if (message := _unreadable(error)) is not None:
        return message
    if (key := _missing_key(error)) is not None:
        return f"{key} is missing; give {HOW_TO_GIVE.get(key, f'{key}=VALUE')}"
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(error.parent_node, DictConfig):
        chosen = error.parent_node._get_node("name", validate_access=False)
        return _no_such_key(error.full_key or str(error.key), map(str, error.parent_node), chosen=chosen)
    if isinstance(error, ValidationError):
        return f"{error.full_key}: {_wrong_value(error)}"
    return None


def _unreadable(error: BaseException) -> str | None:
    """What to type in place of an override that Hydra cannot read, or reads as those of several jobs; None: it is another error."""
    if isinstance(error, HydraException) and (several := _SEVERAL.match(str(error))):
        key, _, text = several[1].partition("=")
        return (
            f"{key}: got {text!r}, which are several values; add --multirun to do the job with each of them, or type "
            f"{setting(key, text)} for one value"
        )
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "got null among the choices of a config group, which a sweep cannot leave out; run that job by itself, with ~GROUP"
    if not isinstance(error, OverrideParseException):
        return None
    key, _, text = error.override.partition("=")
    if not re.fullmatch(r"[+~]{0,2}[\w$./@-]+", key):
        return f"cannot read {error.override!r}, expected KEY=VALUE"
    return f"{key}: cannot read {text!r}; if that is a text, type {setting(key, text.strip(QUOTES))}, and a list as {key}=[A,B]"


def _missing_key(error: BaseException) -> str | None:
    """The key that must be given: a value, or a group left out on which the choice of another group depends."""
    if isinstance(error, MissingMandatoryValue):
        return error.full_key or ""
    match = re.match(r"Error resolving interpolation '.*?\$\{(\w+)\}", str(error)) if isinstance(error, HydraException) else None
    return None if match is None else match[1]


def _wrong_value(error: ValidationError) -> str:
    reason = (error.msg or str(error)).splitlines()[0]
    if reason.endswith("is not a ListConfig, list or tuple."):
        return f"got a single value, expected a list: {error.full_key}=[VALUE,...]"
    if kind := re.match(r"Cannot convert '(list|dict)' to string", reason):
        got = {"list": "a list", "dict": "a mapping"}[kind[1]]
        return f"got {got}, expected a text; one with brackets is typed as {setting(error.full_key or '', '[TEXT]')}"
    match = re.fullmatch(r"Value (?P<value>.*) of type '.*' could not be converted to (?P<kind>\w+)", reason)
    return reason if match is None else f"got {match['value']}, expected {KINDS.get(match['kind'], match['kind'])}"


def _no_such_key(full_key: str, known: Iterable[str], *, chosen: object = None) -> str:
    section, _, key = full_key.rpartition(".")
    names = [name for name in known if name not in (key, "hydra")]
    if near := nearest(key, names):
        return f"{full_key}: there is no such key; did you mean {f'{section}.' if section else ''}{near}?"
    keys = f"the keys{f' of {section}' if section else ''} are {', '.join(names)}"
    other = (
        f"; this is {section}={chosen}, and {section}=NAME chooses another, with keys of its own"
        if section == "data" and chosen
        else ""
    )
    return f"{full_key}: there is no such key; {keys}{other}"


def _missing_config(error: MissingConfigException) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    choices = [name for name in error.options or () if not name.startswith(SCHEMA_PREFIX)]
    if group == "hydra/launcher" and choice in LAUNCHERS:
        return f"hydra/launcher: {choice} is not installed: {LAUNCHERS[choice]}"
    if not group or not choices:
        return f"there is no config {error.missing_cfg_file!r}; expected a file of that name in conf/ or in --config-dir"
    return f"{group}: got {choice!r}, expected one of {', '.join(choices)}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it arose from, each once: an error that is raised again while it is handled can be its own context."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
