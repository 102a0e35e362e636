"""Every setting with its default and its check. YAML holds only what a choice changes."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from teledx_fed.files import write_text
from teledx_fed.records import GRADES, LocalTraining

CONF = Path(__file__).parents[1] / "conf"
LARGEST_SEED = 2**32 - 1
CHOICES = "choices.json"
"""What was chosen on the command line, in a run folder: it names the run beside others."""


Value = TypeVar("Value")


def must(condition: bool, name: str, requirement: str, got: object, remedy: str) -> None:
    if not condition:
        raise ValueError(f"{name} must {requirement}, got {got!r}. {remedy}")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    listed = ", ".join(choices)
    must(value in listed.split(", "), name, f"be one of {listed}", value, "Choose one of these.")


def within(name: str, value: float, low: float, high: float) -> None:
    must(low <= value <= high, name, f"lie in {low:g}…{high:g}", value, "Change it to lie there.")


@dataclass
class SourceSettings:
    """Photographs and grades as they lie on disk."""

    layout: str = "folder"
    root: str = ""


@dataclass
class HospitalSettings:
    """A synthetic hospital: how many patients, through which camera, with which share of each grade."""

    patients: int = 100
    camera: str = "canon"
    prevalence: list[float] = field(default_factory=lambda: [0.5, 0.15, 0.2, 0.08, 0.07])

    def __post_init__(self) -> None:
        within("data.hospitals.patients", self.patients, 1, 1e6)
        must(
            len(self.prevalence) == GRADES and min(self.prevalence) >= 0 and abs(sum(self.prevalence) - 1) < 1e-6,
            "data.hospitals.prevalence",
            f"be {GRADES} shares that sum to 1",
            self.prevalence,
            "Give one share for each ICDR grade 0 to 4.",
        )


@dataclass
class DataSettings:
    """Sources on disk, or, where there are none, hospitals to draw; `seed` says what is drawn and dealt to whom."""

    seed: int = 0
    sources: dict[str, SourceSettings] = field(default_factory=dict)
    hospitals: dict[str, HospitalSettings] = field(default_factory=dict)
    grading: dict[str, int] = field(default_factory=dict)
    file_pattern: str | None = None
    on_bad: str = "fail"
    image_size: int = 224
    ben_graham: bool = False
    clahe: bool = False
    cache: str = ".teledx_cache"
    workers: int = 2

    def __post_init__(self) -> None:
        within("data.seed", self.seed, 0, LARGEST_SEED)
        one_of("data.on_bad", self.on_bad, ("fail", "skip"))
        within("data.image_size", self.image_size, 16, 2048)
        within("data.workers", self.workers, 1, 256)
        for code, grade in self.grading.items():
            must(
                0 <= grade < GRADES,
                f"data.grading.{code}",
                "be an ICDR grade 0 to 4",
                grade,
                "Correct the table.",
            )


@dataclass
class PartitionSettings:
    """How patients come to hospitals, and which share of each is held out.

    The `absent` hospital is tested with what the others trained, and trains for itself alone.
    """

    by: str = "by_source"
    absent: str | None = None
    sites: int = 4
    alpha: float = 0.5
    validation: float = 0.2
    test: float = 0.3

    def __post_init__(self) -> None:
        one_of("partition.by", self.by, ("by_source", "iid", "label_skew", "quantity_skew", "camera_shift"))
        within("partition.sites", self.sites, 1, 100_000)
        must(self.alpha > 0, "partition.alpha", "be positive", self.alpha, "Small is skewed, large is even.")
        for name in ("validation", "test"):
            within(f"partition.{name}", getattr(self, name), 0.01, 0.9)
        within("partition.validation + partition.test", self.validation + self.test, 0.02, 0.95)

    def present(self, sites: Mapping[str, Value]) -> dict[str, Value]:
        """All that train together. A `ValueError` where the absent one is not among them."""
        known = self.absent is None or self.absent in sites
        must(known, "partition.absent", f"be one of {', '.join(sites)}", self.absent, "Choose one of these.")
        return {name: value for name, value in sites.items() if name != self.absent}


@dataclass
class ModelSettings:
    name: str = "tf_efficientnet_b0"
    initial: str = "lite0"
    file: str | None = None
    head: str = "grade"
    oedema: bool = False
    freeze: str = "none"
    batch_norm: str = "average"

    def __post_init__(self) -> None:
        one_of("model.initial", self.initial, ("lite0", "hub", "file", "none"))
        one_of("model.head", self.head, ("grade", "seed"))
        one_of("model.batch_norm", self.batch_norm, ("average", "local", "frozen"))
        must(
            re.fullmatch(r"\w+(\.\w+)?", self.name) is not None,
            "model.name",
            "be a network that timm has by name",
            self.name,
            "No address and no path; see timm.list_models().",
        )
        must(
            self.freeze in ("none", "backbone") or (self.freeze.isdecimal() and int(self.freeze) > 0),
            "model.freeze",
            "be none, backbone or a number of blocks from 1 on",
            self.freeze,
            "For the first three blocks write model.freeze=3.",
        )
        must(
            self.initial != "lite0" or self.name == "tf_efficientnet_b0",
            "model.name",
            "be tf_efficientnet_b0 where model.initial is lite0",
            self.name,
            "Choose model.initial=hub, file or none for another network.",
        )
        must(
            (self.initial == "file") == (self.file is not None),
            "model.file",
            "be given with model.initial=file, and only then",
            self.file,
            "Give both or neither.",
        )
        must(
            not (self.oedema and self.head == "seed"),
            "model.oedema",
            "be false with model.head=seed",
            self.oedema,
            "The seed head has one output.",
        )


@dataclass
class TrainingSettings:
    """`views` augmented views of each photograph are kept behind a frozen part; 0 augments anew each time."""

    epochs: int = 1
    batch_size: int = 32
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: str = "constant"
    class_balance: str = "weights"
    label_smoothing: float = 0.0
    proximal_mu: float = 0.0
    clip_norm: float = 0.0
    augment: bool = True
    views: int = 0
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        one_of("training.optimizer", self.optimizer, ("adamw", "adam", "sgd"))
        one_of("training.schedule", self.schedule, ("constant", "cosine"))
        one_of("training.class_balance", self.class_balance, ("none", "weights", "sampling"))
        within("training.epochs", self.epochs, 1, 1000)
        within("training.views", self.views, 0, 1000)
        within("training.batch_size", self.batch_size, 1, 4096)
        must(self.learning_rate > 0, "training.learning_rate", "be positive", self.learning_rate, "Try 1e-3.")
        for name in ("weight_decay", "proximal_mu", "clip_norm"):
            must(
                getattr(self, name) >= 0,
                f"training.{name}",
                "be 0 or more",
                getattr(self, name),
                "0 turns it off.",
            )
        within("training.label_smoothing", self.label_smoothing, 0, 0.5)
        within("training.momentum", self.momentum, 0, 0.9999)


REPLIES_TO_BEAR: dict[str, Callable[[int], int]] = {
    "fedmedian": lambda faulty: 2 * faulty + 1,
    "fedtrimmedavg": lambda faulty: 2 * faulty + 1,
    "krum": lambda faulty: 2 * faulty + 3,
    "multikrum": lambda faulty: 2 * faulty + 3,
    "bulyan": lambda faulty: 4 * faulty + 3,
}
"""How many replies a robust strategy needs so that `faulty` of them cannot lead it astray: Yin et al. 2018 (median and
trimmed mean), Blanchard et al. 2017 (Krum), El Mhamdi et al. 2018 (Bulyan)."""

AVERAGING = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad")


@dataclass
class StrategySettings:
    """`faulty` sites are borne by a robust strategy; `lipschitz` is the L of q-FedAvg: 1 / learning rate for one step
    of SGD, and far less for Adam, whose steps are not as long as their gradient.
    """

    name: str = "fedavg"
    weighting: str = "examples"
    server_learning_rate: float = 0.01
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3
    q: float = 0.1
    lipschitz: float = 1.0
    faulty: int = 1

    def __post_init__(self) -> None:
        one_of("strategy.name", self.name, (*AVERAGING, *REPLIES_TO_BEAR, "qfedavg"))
        one_of("strategy.weighting", self.weighting, ("examples", "sqrt", "equal"))
        for name, tried in (("server_learning_rate", 0.01), ("tau", 1e-3), ("lipschitz", 1)):
            value = getattr(self, name)
            must(value > 0, f"strategy.{name}", "be positive", value, f"Try {tried:g}.")
        for name in ("momentum", "beta_1", "beta_2"):
            within(f"strategy.{name}", getattr(self, name), 0, 0.9999)
        within("strategy.q", self.q, 0, 100)
        within("strategy.faulty", self.faulty, 0, 1000)
        must(
            self.name != "fedtrimmedavg" or self.faulty > 0,
            "strategy.faulty",
            "be 1 or more with fedtrimmedavg",
            self.faulty,
            "Nothing trimmed is a mean: say strategy=fedavg.",
        )

    @property
    def needed_replies(self) -> int:
        return REPLIES_TO_BEAR[self.name](self.faulty) if self.name in REPLIES_TO_BEAR else 1

    def bears(self, replies: int) -> int:
        """How many faulty ones among so many replies, at most `faulty`."""
        needed = REPLIES_TO_BEAR[self.name]
        return next(faulty for faulty in range(self.faulty, -1, -1) if needed(faulty) <= replies or not faulty)


@dataclass
class FederationSettings:
    """`norm_limit` bounds how far an update may move the parameters until a round was accepted; from then on, and for
    BatchNorm statistics, it is `norm_multiple` × the median of the accepted (at first, of the statistics' own norm).
    """

    rounds: int = 10
    fraction_train: float = 1.0
    quorum: int = 1
    deadline_seconds: float = 3600.0
    patience: int = 0
    choose_by: str = "referable_auroc"
    norm_limit: float = 1000.0
    norm_multiple: float = 10.0
    max_examples: int = 1_000_000
    compression: str = "none"

    def __post_init__(self) -> None:
        within("federation.rounds", self.rounds, 1, 100_000)
        must(
            0 < self.fraction_train <= 1,
            "federation.fraction_train",
            "lie in 0…1, above 0",
            self.fraction_train,
            "1 trains every site in every round.",
        )
        within("federation.quorum", self.quorum, 1, 100_000)
        must(self.deadline_seconds > 0, "federation.deadline_seconds", "be positive", self.deadline_seconds, "")
        within("federation.patience", self.patience, 0, 100_000)
        one_of("federation.choose_by", self.choose_by, ("referable_auroc", "qwk"))
        for name in ("norm_limit", "norm_multiple"):
            must(getattr(self, name) > 0, f"federation.{name}", "be positive", getattr(self, name), "")
        within("federation.max_examples", self.max_examples, 1, 1e12)
        one_of("federation.compression", self.compression, ("none", "float16", "int8"))


FAULTS = (
    *("drop_out", "straggle", "crash", "stale", "wrong_shape"),
    *("not_a_number", "infinity", "hundredfold", "sign_flip", "label_flip", "forged_count", "little_is_enough"),
)


@dataclass
class FaultSettings:
    """In every round from `first` to `last`, each of `sites` (all, where none is named) has one of `kinds` with
    probability `share`. `deviations` is how far little_is_enough moves each weight, in the others' standard deviations.
    """

    kinds: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    share: float = 1.0
    first: int = 1
    last: int = 100_000
    deviations: float = 1.5

    def __post_init__(self) -> None:
        for kind in self.kinds:
            one_of("faults.kinds", kind, FAULTS)
        within("faults.share", self.share, 0, 1)
        within("faults.first", self.first, 1, 100_000)
        within("faults.last", self.last, self.first, 100_000)
        within("faults.deviations", self.deviations, 0, 100)

    def concerns(self, site: str, round: int) -> bool:
        return bool(self.kinds) and (not self.sites or site in self.sites) and self.first <= round <= self.last


@dataclass
class OutboundSettings:
    """A site that evaluated fewer patients sends no table."""

    min_patients: int = 5

    def __post_init__(self) -> None:
        within("outbound.min_patients", self.min_patients, 1, 1e6)


@dataclass
class EvaluationSettings:
    """Of `folds` by patient each is tested once, by models that never saw it, and replaces `partition.test`; `fold`
    (from 0) is one of them alone.
    """

    target_sensitivity: float = 0.9
    replicates: int = 1000
    folds: int = 1
    fold: int | None = None

    def __post_init__(self) -> None:
        within("evaluation.folds", self.folds, 1, 1000)
        must(
            self.fold is None or (self.folds > 1 and 0 <= self.fold < self.folds),
            "evaluation.fold",
            "be one of evaluation.folds, from 0",
            self.fold,
            "Leave it out for all of them.",
        )
        within("evaluation.target_sensitivity", self.target_sensitivity, 0.01, 1)
        within("evaluation.replicates", self.replicates, 10, 100_000)


@dataclass
class SimulationSettings:
    """`threads` per site is kept with the run: bits are equal at equal threads on one kind of CPU, for any `workers`.

    `compile` hands the network to torch.compile: about a minute before the first step, and again for each new shape.
    """

    backend: str = "in_process"
    workers: int = 1
    threads: int = 2
    device: str = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        one_of("simulation.backend", self.backend, ("in_process", "ray"))
        within("simulation.workers", self.workers, 1, 1024)
        within("simulation.threads", self.threads, 1, 1024)
        one_of("simulation.device", self.device, ("auto", "cpu", "cuda"))


@dataclass
class TrackingSettings:
    """`uri` is where MLflow keeps its runs: a database file, or a server. `tags` are for whoever looks for a run."""

    to: str = "none"
    experiment: str = "teledx_fed"
    uri: str = "sqlite:///mlflow.db"
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("tracking.to", self.to, ("none", "tensorboard", "mlflow"))


BASELINES = ("local", "ensemble", "centralised")


@dataclass
class Settings:
    """`seed` says how patients are split and models begin and train; `seeds` repeats a run with each, as one run."""

    seed: int = 0
    seeds: list[int] = field(default_factory=list)
    data_root: str | None = None
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


Schema = TypeVar("Schema")


def read(path: Path, schema: type[Schema]) -> Schema:
    """A settings file of its own, such as a hospital's: unknown names, wrong types and bad values are errors."""
    try:
        values = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.load(path))
        return cast(Schema, OmegaConf.to_object(values))
    except FileNotFoundError as error:
        raise ValueError(f"{path} must be a file, got none. Write it with init, or say --dir.") from error
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error


def build(composed: Mapping[str, Any] | DictConfig) -> Settings:
    """Settings from what Hydra composed, or from a file: unknown names, wrong types and bad values are errors."""
    if not isinstance(composed, DictConfig):
        must("${" not in json.dumps(composed), "settings", "hold plain values", "an interpolation", "Resolve it first.")
    values = composed if isinstance(composed, DictConfig) else OmegaConf.create(dict(composed))
    must(
        values.get("data_root") is not None or not values.get("data", {}).get("sources"),
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
        raise ValueError(str(error)) from error
    must(not composed.faults.kinds, "faults", "be none over a network", list(composed.faults.kinds), "Simulate them.")
    composed.data.sources, composed.data.hospitals = {}, {}
    composed.folder = composed.resume = None
    return build(composed)


def load(path: Path) -> Settings:
    return build(cast(DictConfig, OmegaConf.load(path)))


def save(settings: Settings, path: Path) -> None:
    write_text(path, OmegaConf.to_yaml(OmegaConf.create(asdict(settings))))


def without_places(settings: Settings) -> str:
    """As YAML that can be shown around: where things lie on this machine is left out."""
    shown = asdict(settings)
    del shown["data_root"], shown["folder"], shown["resume"], shown["data"]["cache"], shown["model"]["file"]
    for source in shown["data"]["sources"].values():
        del source["root"]
    return OmegaConf.to_yaml(OmegaConf.create(shown))


ConfigStore.instance().store("schema", Settings)
