"""Compose settings from conf/ and the command line, or load them from a file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from teledx_fed.config.data import BUILT_IN_PARTITIONS, PARTITION_ENTRY_POINTS
from teledx_fed.config.federation import PLAIN_AGGREGATION, STRATEGIES
from teledx_fed.config.learning import HEAD_ENTRY_POINTS, HeadName
from teledx_fed.config.names import check_names, refusal
from teledx_fed.config.settings import Settings
from teledx_fed.core import extensions
from teledx_fed.core.checks import must, one_of
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import write_text

CONF = Path(__file__).parents[2] / "conf"
GUIDE = "docs/researcher.md, Your own hospitals"

NOT_OVER_A_NETWORK: Mapping[str, Any] = {
    "hospitals": None,
    "faults.kinds": [],
    "seeds": [],
    "partition.absent": None,
    "evaluation.folds": 1,
    "tracking.to": "none",
}
"""Settings that have no effect over a network, with the only value that is accepted there."""

Schema = TypeVar("Schema")


def read(path: Path, schema: type[Schema]) -> Schema:
    """Read a settings file, such as a hospital's. Raise a `ConfigurationError` for unknown names and bad values."""
    try:
        values = OmegaConf.merge(OmegaConf.structured(schema), _load(path))
        return cast(Schema, OmegaConf.to_object(values))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} must be a file, got none. Write it with init, or set --dir.") from error
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: {str(error).splitlines()[0]}") from error


def _load(path: Path) -> DictConfig:
    """Load a YAML file. Keys stay text as written: `no`, `00` and `1.0` are a hospital's words."""
    top = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    nodes = [top]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                key.tag = "tag:yaml.org,2002:str"
                nodes.append(value)
    text = "" if top is None else yaml.serialize(top, Dumper=yaml.SafeDumper)
    return cast(DictConfig, OmegaConf.load(StringIO(text)))


def command_line_problem(words: Sequence[str]) -> str | None:
    """Return an error message for settings that Hydra cannot parse here, such as data.grading={R0:0}; else None."""
    choices = [word for word in words if re.match(r"\+{0,2}data\.(grading|sources|hospitals|file_pattern)\b", word)]
    if not choices or {"-m", "--multirun"} & set(words):
        return None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            hydra.compose("config", [word for word in words if word.startswith(("data=", "experiment="))] + choices)
    except HydraException:
        return (
            f"{' '.join(choices)} cannot be set on the command line. "
            f"Describe your hospitals in a file, and name it with hospitals=FILE: {GUIDE}."
        )
    return None


def build(composed: Mapping[str, Any] | DictConfig, local: bool = False) -> Settings:
    """Build settings from values. Raise a `ConfigurationError` for unknown names, wrong types and bad values.

    A `local` run may use parts that another package supplies by entry point; settings from a network may not.
    """
    if not isinstance(composed, DictConfig):
        must("${" not in json.dumps(composed), "settings", "hold plain values", "an interpolation", "Resolve it first.")
    values = composed if isinstance(composed, DictConfig) else OmegaConf.create(dict(composed))
    _check_names(values)
    must(
        values.get("data_root") is not None
        or values.get("hospitals") is not None
        or not values.get("data", {}).get("sources"),
        "data_root",
        "be the folder that data=NAME reads",
        None,
        "Add data_root=PATH.",
    )
    try:
        settings = cast(Settings, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), values)))
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigurationError(str(error).splitlines()[0]) from error
    _check_extensions(settings, local)
    return settings


def _check_extensions(settings: Settings, local: bool) -> None:
    """Refuse names that are neither built in nor, in a `local` run, supplied by an installed package."""

    def check(setting: str, name: str, built_in: tuple[str, ...], group: str) -> None:
        if local:
            extensions.check(setting, name, built_in, group)
        else:
            one_of(setting, name, built_in or ("(none)",))

    federation = settings.federation
    check("model.head", settings.model.head, tuple(HeadName), HEAD_ENTRY_POINTS)
    check("partition.by", settings.partition.by, BUILT_IN_PARTITIONS, PARTITION_ENTRY_POINTS)
    check("strategy.name", settings.strategy.name, STRATEGIES, extensions.STRATEGIES)
    check("federation.aggregation", federation.aggregation, (PLAIN_AGGREGATION,), extensions.AGGREGATIONS)
    for name in federation.transforms:
        check("federation.transforms", name, (), extensions.TRANSFORMS)
    if federation.transforms or federation.aggregation != PLAIN_AGGREGATION:
        one_of("simulation.backend with parts of another package", settings.simulation.backend, ("in_process",))


def compose(overrides: Sequence[str]) -> Settings:
    """Compose a coordinator's settings; hospitals set their own data. Raise a `ConfigurationError` for bad values."""
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose("config", list(overrides))
    except HydraException as error:
        raise ConfigurationError(hydra_message(error)) from error
    _check_names(composed)  # also those of the data, which are removed below
    for name, allowed in NOT_OVER_A_NETWORK.items():
        value = OmegaConf.select(composed, name)
        must(value == allowed, name, f"be {allowed} over a network", value, "Use it in a simulation only.")
    composed.data.sources, composed.data.hospitals = {}, {}
    composed.folder = composed.resume = None
    return build(composed)


def _check_names(values: DictConfig) -> None:
    """Refuse unknown names: Hydra adds any with +NAME=VALUE, and the dataclass made of them raises no error."""
    check_names(cast(dict[Any, Any], OmegaConf.to_container(values)), Settings)


def hydra_message(error: HydraException) -> str:
    """Return Hydra's message, or our own for an unknown setting, which Hydra recommends to add with a plus."""
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and str(error).startswith("Could not override"):
        return refusal(str(cause.full_key), Settings)
    return "\n".join(map(str, filter(None, [error, cause])))


def load(path: Path, local: bool = False) -> Settings:
    """Load settings from a file of `save`, with the checks of `build`."""
    return build(_load(path), local)


def save(settings: Settings, path: Path) -> None:
    """Save all settings as YAML."""
    write_text(path, as_yaml(asdict(settings)))


def without_places(settings: Settings) -> dict[str, Any]:
    """Return the settings without paths and addresses, for reports."""
    shown = asdict(settings)
    for place in ("data_root", "hospitals", "folder", "resume"):
        del shown[place]
    del shown["data"]["cache"], shown["model"]["file"], shown["tracking"]["uri"]
    for source in shown["data"]["sources"].values():
        del source["root"]
    return shown


def as_yaml(values: Mapping[str, Any]) -> str:
    """Write a mapping as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))
