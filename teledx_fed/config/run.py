"""Settings of evaluation, simulation and tracking, with checks."""

from dataclasses import dataclass, field

from teledx_fed.core.checks import must, one_of, within


@dataclass
class EvaluationSettings:
    """Cross-validation, operating points and bootstrap.

    With `folds` above 1, each fold replaces `partition.test` once, for models that were not trained on it; `fold` (from
    0) selects one. An operating point reaches `target_sensitivity`, unless its specificity would be too low: then the
    specificity sets the threshold. By default at least half of the healthy eyes are not referred (with fewer, screening
    saves no visits), and nine in ten are not urgent (urgent places are few). With fewer than `fewest_positives`
    diseased eyes the federation's counts are used too: of 20 eyes, one is 5 points of sensitivity.
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
            must(self.folds > 1, "evaluation.folds", "come with evaluation.fold", self.folds, "Set how many.")
            within("evaluation.fold", self.fold, 0, self.folds - 1)
        within("evaluation.target_sensitivity", self.target_sensitivity, 0.01, 1)
        within("evaluation.referable_specificity", self.referable_specificity, 0, 0.999)
        within("evaluation.urgent_specificity", self.urgent_specificity, 0, 0.999)
        within("evaluation.fewest_positives", self.fewest_positives, 1, 10_000)
        within("evaluation.replicates", self.replicates, 10, 100_000)


@dataclass
class SimulationSettings:
    """Simulation. Results are bit-identical for equal `threads` per site on one kind of CPU, for any `workers`.

    `compile` uses torch.compile, which takes about a minute before the first step, and again for each new shape.
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
    """Tracking. `uri` is where MLflow stores runs: a database file or a server. `tags` help to find a run there."""

    to: str = "none"
    experiment: str = "teledx_fed"
    uri: str = "sqlite:///mlflow.db"
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("tracking.to", self.to, ("none", "tensorboard", "mlflow"))
