"""How a run is scored, what it computes on, and who is told of it: settings with their checks."""

from dataclasses import dataclass, field

from teledx_fed.checks import must, one_of, within


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
        if self.fold is not None:
            must(self.folds > 1, "evaluation.folds", "come with evaluation.fold", self.folds, "Say how many there are.")
            within("evaluation.fold", self.fold, 0, self.folds - 1)
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
