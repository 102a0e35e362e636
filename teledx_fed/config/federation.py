"""Settings of strategy, rounds, simulated faults and outbound rules, with checks."""

from dataclasses import dataclass, field

from teledx_fed.core.checks import must, one_of, within

STRATEGIES = (
    *("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"),
    *("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan", "qfedavg"),
)
"""Built-in strategies. Only a local run may use a strategy that a package supplies by entry point."""

PLAIN_AGGREGATION = "plain"
"""The built-in aggregation: the server receives each update."""


@dataclass
class StrategySettings:
    """A strategy. Robust strategies and q-FedAvg ignore `weighting`: all sites have the same weight.

    A robust strategy tolerates `faulty` Byzantine sites. `lipschitz` is the L of q-FedAvg: 1 / learning rate for one
    step of SGD, and far less for Adam, whose steps are not proportional to the gradient.
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
        one_of("strategy.weighting", self.weighting, ("examples", "sqrt", "equal"))
        for name, tried in (("server_learning_rate", 0.01), ("tau", 1e-3), ("lipschitz", 1)):
            value = getattr(self, name)
            must(value > 0, f"strategy.{name}", "be positive", value, f"Try {tried:g}.")
        for name in ("momentum", "beta_1", "beta_2"):
            within(f"strategy.{name}", getattr(self, name), 0, 0.9999)
        within("strategy.q", self.q, 0, 100)
        within("strategy.faulty", self.faulty, 0, 1000)


@dataclass
class FederationSettings:
    """Rounds, and limits for updates.

    An update may move the parameters by at most `norm_multiple` × the median distance of the accepted updates. The
    first round uses the median of its own updates, and the absolute limit `norm_limit`. BatchNorm statistics have the
    same limits, but their absolute limit is `norm_multiple` × their norm. A site may declare at most `max_examples`
    before its first round, and then state at most the declared number.

    `transforms` change each update at its site, in their order, before `compression`. Only a local run may use them, or
    another `aggregation` than plain: packages supply them by entry point.
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
    transforms: list[str] = field(default_factory=list)
    aggregation: str = PLAIN_AGGREGATION

    def __post_init__(self) -> None:
        within("federation.rounds", self.rounds, 1, 100_000)
        must(
            0 < self.fraction_train <= 1,
            "federation.fraction_train",
            "lie in 0…1, above 0",
            self.fraction_train,
            "Set 1 to train every site in every round.",
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
    *("not_a_number", "infinity", "scale_attack", "sign_flip", "label_flip", "forged_count", "little_is_enough"),
)


EVER = 100_000
"""The largest number of rounds."""


@dataclass
class FaultSettings:
    """Simulated faults.

    In rounds `first` to `last`, each of `sites` (empty: all) has one of `kinds` with probability `share`. `deviations`
    is how far little_is_enough moves each weight, in the others' standard deviations.
    """

    kinds: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    share: float = 1.0
    first: int = 1
    last: int = EVER
    deviations: float = 1.5

    def __post_init__(self) -> None:
        for kind in self.kinds:
            one_of("faults.kinds", kind, FAULTS)
        within("faults.share", self.share, 0, 1)
        within("faults.first", self.first, 1, EVER)
        within("faults.last", self.last, self.first, EVER)
        within("faults.deviations", self.deviations, 0, 100)

    def concerns(self, site: str, round: int) -> bool:
        return bool(self.kinds) and (not self.sites or site in self.sites) and self.first <= round <= self.last


@dataclass
class OutboundSettings:
    """A site that evaluated fewer than `min_patients` patients sends no table."""

    min_patients: int = 5

    def __post_init__(self) -> None:
        within("outbound.min_patients", self.min_patients, 1, 1e6)
