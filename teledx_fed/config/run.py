"""How a run is scored, what it computes on, and who is told of it: settings with their checks."""

from dataclasses import dataclass, field

from teledx_fed.core.checks import must, one_of, within


@dataclass
class EvaluationSettings:
    """Of `folds` by patient each is tested once, by models that never saw it, and replaces `partition.test`; `fold`
    (from 0) is one of them alone.

    An operating point reaches `target_sensitivity`, unless more healthy eyes than its specificity allows would be
    called: then the specificity holds. Of the healthy, at least half are not referred (with fewer, screening saves no
    visits) and nine in ten are not called urgent (urgent places are few). With fewer than `fewest_positives` diseased
    eyes (of 20, one is 5 points of sensitivity) the federation's counts are used too.
    """

    target_sensitivity: float = 0.9
    referable_specificity: float = 0.5
    urgent_specificity: float = 0.9
    fewest_positives: int = 20
    replicates: int = 1000
    folds: int = 1
    fold: int | None = None

    def __post_init__(self) -> None:
        within("evaluation.folds", self.folds, 1, 1000)
        if self.fold is not None:
            must(self.folds > 1, "evaluation.folds", "come with evaluation.fold", self.folds, "Say how many there are.")
            within("evaluation.fold", self.fold, 0, self.folds - 1)
        within("evaluation.target_sensitivity", self.target_sensitivity, 0.01, 1)
        within("evaluation.referable_specificity", self.referable_specificity, 0, 0.999)
        within("evaluation.urgent_specificity", self.urgent_specificity, 0, 0.999)
        within("evaluation.fewest_positives", self.fewest_positives, 1, 10_000)
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
