"""All settings of a run, with defaults and checks. YAML files contain only what a choice changes."""

import math
from dataclasses import asdict, dataclass, field, replace

from hydra.core.config_store import ConfigStore

from teledx_fed.config.data import DataSettings, PartitionSettings
from teledx_fed.config.federation import (
    FaultSettings,
    FederationSettings,
    OutboundSettings,
    StrategySettings,
)
from teledx_fed.config.learning import ModelSettings, TrainingSettings
from teledx_fed.config.run import EvaluationSettings, SimulationSettings, TrackingSettings
from teledx_fed.core.checks import LARGEST_SEED, must, one_of, within
from teledx_fed.core.updates import LocalTraining

CHOICES = "choices.json"
"""File in a run folder with the choices of the command line, which name the run in comparisons."""


BASELINES = ("local", "ensemble", "centralised")


@dataclass
class Settings:
    """Settings of a run. `seed` fixes split, initial weights and training; `seeds` repeats the run with each seed."""

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
            "name either sources on disk or synthetic hospitals",
            {"sources": list(self.data.sources), "hospitals": list(self.data.hospitals)},
            "Choose one with data=NAME (see conf/data).",
        )
        for baseline in self.baselines:
            one_of("baselines", baseline, BASELINES)
        if self.faults.kinds:
            one_of("simulation.backend with faults", self.simulation.backend, ("in_process",))
            one_of("federation.compression with faults", self.federation.compression, ("none",))
            within("faults.first", self.faults.first, 1, self.federation.rounds)
        must(
            "ensemble" not in self.baselines or "local" in self.baselines,
            "baselines",
            "include local if they include ensemble",
            self.baselines,
            "Add local: the ensemble averages the local models.",
        )

    def repeats(self) -> list["list[Settings]"]:
        """Return the settings of each part of the run, by seed, then by fold."""
        evaluation = self.evaluation
        is_one_fold = evaluation.folds == 1 or evaluation.fold is not None
        folds = [evaluation.fold] if is_one_fold else list(range(evaluation.folds))
        return [
            [replace(self, seed=seed, seeds=[], evaluation=replace(evaluation, fold=fold)) for fold in folds]
            for seed in self.seeds or [self.seed]
        ]

    def part_name(self, part: "Settings") -> str:
        """Return a part's folder name within the run's folder; empty where the part is the whole run."""
        seed = [f"seed{part.seed}"] if self.seeds else []
        fold = [f"fold{part.evaluation.fold}"] if part.evaluation.fold != self.evaluation.fold else []
        return "-".join(seed + fold)

    def local_training(self, round: int) -> LocalTraining:
        """Return the settings of a site's training in round `round`."""
        values = asdict(self.training)
        if values.pop("schedule") == "cosine":
            values["learning_rate"] *= 0.5 * (1 + math.cos(math.pi * (round - 1) / self.federation.rounds))
        return LocalTraining(**values, compression=self.federation.compression, seed=self.seed)


ConfigStore.instance().store("schema", Settings)
