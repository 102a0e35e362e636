"""Describe a plan to the people who approve it: the training, what leaves the hospital, what nobody can check."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from textwrap import fill

from teledx_fed.config.settings import Settings
from teledx_fed.deployment.common.plans import Plan, bound
from teledx_fed.deployment.site.settings import SiteSettings
from teledx_fed.federation.messages import LARGEST_LOSS
from teledx_fed.federation.strategies.registry import needs_loss
from teledx_fed.model.heads import head_of

STARTS = {
    "lite0": "ImageNet weights that came with the software, and a head drawn from seed {seed}",
    "none": "weights drawn from seed {seed}",
    "file": "the model file with SHA-256 {file}",
}
OWN_BUILD = "This machine builds them itself and refuses other weights in round 1."
OWN_FILE = "Approve this only if you know where that file comes from: a crafted model can reveal photographs."
FROZEN = {"none": "all of its weights", "backbone": "its last layer alone, the head"}
OPTIMIZERS = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "plain SGD: with few steps the update is a gradient, from which photographs can be reconstructed",
}
UNCHECKED = (
    "From round 2 on, this machine cannot check whether the model that it receives is the average of the hospitals' "
    "updates, or was crafted to expose grades, features or photographs of single patients in the next update.",
    "The weights that leave are computed from your patients without added noise. They can reveal facts about single "
    "patients, such as whether a patient was in your training set. No limit on this is guaranteed.",
    "This machine cannot check which other hospitals take part, or whether they exist.",
)
NAMES, WIDTH = 16, 110


def page(plan: Plan, site_settings: SiteSettings, runs: int) -> list[str]:
    """Return the lines of text; `runs` is the number of runs of the plan that this hospital would answer."""
    settings = plan.run_settings(None if plan.file is None else Path(plan.file))
    about = " ".join(f"of release {plan.release}, for: {plan.purpose}".split())
    lines = [f"Plan {plan.digest}", _wrapped(about, 2), ""]
    lines += [_wrapped(f"{name:{NAMES}}{text}", NAMES) for name, text in _facts(plan, settings, site_settings, runs)]
    return [*lines, "", "What this machine cannot check:", *(_wrapped(f"- {line}", 2) for line in UNCHECKED)]


def _wrapped(line: str, indent: int) -> str:
    return fill(line, WIDTH, subsequent_indent=" " * indent)


def _facts(plan: Plan, settings: Settings, site_settings: SiteSettings, runs: int) -> Iterator[tuple[str, str]]:
    model, training, limits = settings.model, settings.training, site_settings.limits
    trained = FROZEN.get(model.freeze, f"all but its first {model.freeze} blocks")
    oedema = ", and oedema" if model.oedema else ""
    yield "network", f"{model.name}; output: {head_of(model.head).description}{oedema}"
    yield "photographs", f"prepared at {settings.data.image_size} × {settings.data.image_size} pixels"
    yield "what is trained", f"{trained}; BatchNorm statistics: {model.batch_norm}"
    start = STARTS[model.initial].format(seed=settings.seed, file=plan.file)
    yield "begins with", f"{start}. {OWN_FILE if model.initial == 'file' else OWN_BUILD}"
    yield (
        "optimizer",
        f"{OPTIMIZERS[training.optimizer]}; learning rate {training.learning_rate:g}, {training.schedule}",
    )
    fewest = f"refused with fewer than {limits.training_patients} training patients or {limits.steps[0]} steps"
    passes = f"{_passes(training.epochs)} over your training patients' photographs"
    yield "a round", f"{passes}, {_steps(settings)}; {fewest}"
    yield "how long", f"at most {settings.federation.rounds} rounds, each asked once, in {_runs(runs)}"
    split = site_settings.partition
    yield "your split", f"your own: {split.validation:.0%} validate, {split.test:.0%} test (site.yaml)"
    yield "combined by", f"{settings.strategy.name} at the coordinator, who sees your update on its own"
    cell = site_settings.outbound.min_patients
    loss = f"; the mean training loss, 0 to {LARGEST_LOSS:g} in hundredths, from which grades can be decoded"
    yield (
        "leaves, a round",
        f"the trained weights{_compressed(settings)}; how many photographs trained them, and how many of these are "
        f"labelled for oedema; counts of grades and scores of the validation set, if it has {cell} patients"
        + (loss if needs_loss(settings.strategy.name) else ""),
    )
    yield "leaves, at last", f"the same counts of the validation set and of the test set, if it has {cell} patients"
    yield "every message", "where your audit log ends: how many lines it has, and a hash of the last"
    yield "your test set", f"answers {limits.test_answers} questions in all, under any names of plans and runs"
    yield "first of all", f"counts of photographs, by grade, oedema, size and camera too, in multiples of {cell}"
    yield "in full", f"seed {settings.seed}; {_in_full(plan, settings)}"
    yield "bound", "every setting in the file: a file with another setting is another plan, which this machine refuses"


def _in_full(plan: Plan, settings: Settings) -> str:
    """Return every setting that a plan fixes, because settings that are not in other lines change the training too."""
    groups = bound(settings)
    groups["model"]["file"] = plan.file
    lines = (
        f"{group}: {', '.join(f'{name} {_short(value)}' for name, value in values.items())}"
        for group, values in groups.items()
    )
    return "; ".join(lines)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _passes(epochs: int) -> str:
    return "one pass" if epochs == 1 else f"{epochs} passes"


def _steps(settings: Settings) -> str:
    batch = settings.training.batch_size
    return f"in batches of {batch}: with 100 of them, {settings.training.epochs * ceil(100 / batch)} steps"


def _runs(runs: int) -> str:
    return "one run" if runs == 1 else f"each of {runs} runs"


def _compressed(settings: Settings) -> str:
    return "" if settings.federation.compression == "none" else f", compressed to {settings.federation.compression}"
