"""Every setting with its default and its check. YAML holds only what a choice changes."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from teledx_fed.checks import LARGEST_SEED, must, one_of, within
from teledx_fed.data_settings import DataSettings, PartitionSettings
from teledx_fed.federation_settings import (
    AVERAGING,
    FaultSettings,
    FederationSettings,
    OutboundSettings,
    StrategySettings,
)
from teledx_fed.files import write_text
from teledx_fed.learning_settings import ModelSettings, TrainingSettings
from teledx_fed.records import LocalTraining
from teledx_fed.run_settings import EvaluationSettings, SimulationSettings, TrackingSettings
from teledx_fed.setting_names import check_names, refusal

CONF = Path(__file__).parents[1] / "conf"
GUIDE = "docs/researcher.md, Your own hospitals"
CHOICES = "choices.json"
"""What was chosen on the command line, in a run folder: it names the run beside others."""


BASELINES = ("local", "ensemble", "centralised")


@dataclass
class Settings:
    """`seed` says how patients are split and models begin and train; `seeds` repeats a run with each, as one run."""

    seed: int = 0
    seeds: list[int] = field(default_factory=list)
    data_root: str | None = None
    hospitals: str | None = None
    folder: str | None = None
    resume: str | None = None
    data: DataSettings = field(default_factory=DataSettings)
    partition: PartitionSettings = field(default_factory=PartitionSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    strategy: StrategySettings = field(default_factory=StrategySettings)
    federation: FederationSettings = field(default_factory=FederationSettings)
    faults: FaultSettings = field(default_factory=FaultSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    simulation: SimulationSettings = field(default_factory=SimulationSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))
    bundles: bool = True

    def __post_init__(self) -> None:
        for name, seed in (("seed", self.seed), *(("seeds", seed) for seed in self.seeds)):
            within(name, seed, 0, LARGEST_SEED)
        must(len(set(self.seeds)) == len(self.seeds), "seeds", "differ", self.seeds, "Name each once.")
        must(
            not (self.data.sources and self.data.hospitals),
            "data",
            "name either sources on disk or hospitals to draw",
            {"sources": list(self.data.sources), "hospitals": list(self.data.hospitals)},
            "Choose one with data=NAME (see conf/data).",
        )
        for baseline in self.baselines:
            one_of("baselines", baseline, BASELINES)
        self._check_strategy()
        if self.faults.kinds:
            one_of("simulation.backend with faults", self.simulation.backend, ("in_process",))
            one_of("federation.compression with faults", self.federation.compression, ("none",))
            within("faults.first", self.faults.first, 1, self.federation.rounds)
        must(
            "ensemble" not in self.baselines or "local" in self.baselines,
            "baselines",
            "hold local where they hold ensemble",
            self.baselines,
            "The ensemble is made of the local models.",
        )

    def repeats(self) -> list["list[Settings]"]:
        """The parts of this run, each a run of its own: by seed, then by fold."""
        evaluation = self.evaluation
        whole = evaluation.folds == 1 or evaluation.fold is not None
        folds = [evaluation.fold] if whole else list(range(evaluation.folds))
        return [
            [replace(self, seed=seed, seeds=[], evaluation=replace(evaluation, fold=fold)) for fold in folds]
            for seed in self.seeds or [self.seed]
        ]

    def part_name(self, part: "Settings") -> str:
        """The folder of a part, within that of the run; a run of one part is its own."""
        seed = [f"seed{part.seed}"] if self.seeds else []
        fold = [f"fold{part.evaluation.fold}"] if part.evaluation.fold != self.evaluation.fold else []
        return "-".join(seed + fold)

    def _check_strategy(self) -> None:
        strategy, quorum = self.strategy, self.federation.quorum
        must(
            quorum >= strategy.needed_replies,
            "federation.quorum",
            f"be at least {strategy.needed_replies} for {strategy.name} with strategy.faulty={strategy.faulty}",
            quorum,
            "Raise it, lower strategy.faulty, or choose another strategy.",
        )
        must(
            strategy.name != "fedprox" or self.training.proximal_mu > 0,
            "training.proximal_mu",
            "be positive with fedprox",
            self.training.proximal_mu,
            "At 0 it is fedavg: say strategy=fedavg, or training.proximal_mu=0.01.",
        )
        must(
            not self.model.oedema or strategy.name in AVERAGING,
            "model.oedema",
            f"be false with {strategy.name}",
            True,
            "Sites without labels for oedema would count against those with: choose a strategy that averages.",
        )

    def local_training(self, round: int) -> LocalTraining:
        """What round `round` asks of a site."""
        asked = asdict(self.training)
        if asked.pop("schedule") == "cosine":
            asked["learning_rate"] *= 0.5 * (1 + math.cos(math.pi * (round - 1) / self.federation.rounds))
        return LocalTraining(**asked, compression=self.federation.compression, seed=self.seed)


NOT_OVER_A_NETWORK: Mapping[str, Any] = {
    "hospitals": None,
    "faults.kinds": [],
    "seeds": [],
    "partition.absent": None,
    "evaluation.folds": 1,
    "tracking.to": "none",
}
"""What would do nothing over a network, as it stands where it is not asked for."""

Schema = TypeVar("Schema")


def read(path: Path, schema: type[Schema]) -> Schema:
    """A settings file of its own, such as a hospital's: unknown names, wrong types and bad values are errors."""
    try:
        values = OmegaConf.merge(OmegaConf.structured(schema), _load(path))
        return cast(Schema, OmegaConf.to_object(values))
    except FileNotFoundError as error:
        raise ValueError(f"{path} must be a file, got none. Write it with init, or say --dir.") from error
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error


def _load(path: Path) -> DictConfig:
    """A YAML file whose keys are text as it is written: `no`, `00` and `1.0` are a hospital's words."""
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


def not_on_the_command_line(words: Sequence[str]) -> str | None:
    """What to say instead of settings that Hydra cannot take as words, such as data.grading={R0:0}."""
    own = [word for word in words if re.match(r"\+{0,2}data\.(grading|sources|hospitals|file_pattern)\b", word)]
    if not own or {"-m", "--multirun"} & set(words):
        return None
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            hydra.compose("config", [word for word in words if word.startswith(("data=", "experiment="))] + own)
    except HydraException:
        return (
            f"{' '.join(own)} cannot be set on the command line. "
            f"Describe your hospitals in a file, and say hospitals=FILE: {GUIDE}."
        )
    return None


def build(composed: Mapping[str, Any] | DictConfig) -> Settings:
    """Settings from what Hydra composed, or from a file: unknown names, wrong types and bad values are errors."""
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
        "Say data_root=PATH.",
    )
    try:
        return cast(Settings, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), values)))
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def compose(overrides: Sequence[str]) -> Settings:
    """What a coordinator asks of hospitals, whose data are their own to name. A `ValueError` says what is wrong."""
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = hydra.compose("config", list(overrides))
    except HydraException as error:
        raise ValueError(worded(error)) from error
    _check_names(composed)  # those of the data as well, which are left out below
    for name, unasked in NOT_OVER_A_NETWORK.items():
        found = OmegaConf.select(composed, name)
        must(found == unasked, name, f"be {unasked} over a network", found, "Simulate it: run_simulation.py.")
    composed.data.sources, composed.data.hospitals = {}, {}
    composed.folder = composed.resume = None
    return build(composed)


def _check_names(values: DictConfig) -> None:
    """Hydra lets +NAME=VALUE add what no setting is, and a dataclass made of it says nothing."""
    check_names(cast(dict[Any, Any], OmegaConf.to_container(values)), Settings)


def worded(error: HydraException) -> str:
    """What Hydra says, except that it recommends to add, with a plus, a setting that does not exist."""
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and str(error).startswith("Could not override"):
        return refusal(str(cause.full_key), Settings)
    return "\n".join(map(str, filter(None, [error, cause])))


def load(path: Path) -> Settings:
    return build(_load(path))


def save(settings: Settings, path: Path) -> None:
    write_text(path, as_yaml(asdict(settings)))


def without_places(settings: Settings) -> dict[str, Any]:
    """What can be shown around: where things lie, on this machine or another, is left out."""
    shown = asdict(settings)
    for place in ("data_root", "hospitals", "folder", "resume"):
        del shown[place]
    del shown["data"]["cache"], shown["model"]["file"], shown["tracking"]["uri"]
    for source in shown["data"]["sources"].values():
        del source["root"]
    return shown


def as_yaml(values: Mapping[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(dict(values)))


ConfigStore.instance().store("schema", Settings)
