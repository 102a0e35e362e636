"""Strategies by name. A local run may also use one that another package supplies as an entry point."""

from typing import Any

from teledx_fed.config.settings import Settings
from teledx_fed.core import extensions
from teledx_fed.core.checks import must, one_of
from teledx_fed.federation.strategies.adaptive import FedAdagrad, FedAdam, FedYogi
from teledx_fed.federation.strategies.averaging import FedAvg, FedAvgM, FedProx
from teledx_fed.federation.strategies.fair import QFedAvg
from teledx_fed.federation.strategies.robust import Bulyan, FedMedian, FedTrimmedAvg, Krum, MultiKrum
from teledx_fed.federation.strategies.strategy import Strategy

STRATEGIES: dict[str, type[Strategy[Any]]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "fedmedian": FedMedian,
    "fedtrimmedavg": FedTrimmedAvg,
    "krum": Krum,
    "multikrum": MultiKrum,
    "bulyan": Bulyan,
    "qfedavg": QFedAvg,
}


def strategy_of(settings: Settings) -> Strategy[Any]:
    """Return the built-in strategy that `settings` name. A `ConfigurationError` if they do not fit it."""
    one_of("strategy.name", settings.strategy.name, STRATEGIES)
    return _checked(STRATEGIES[settings.strategy.name](settings), settings)


def local_strategy_of(settings: Settings) -> Strategy[Any]:
    """Return the strategy of a local run: built-in, or from the entry points `teledx_fed.strategies`."""
    name = settings.strategy.name
    if name in STRATEGIES:
        return strategy_of(settings)
    extensions.check("strategy.name", name, STRATEGIES, extensions.STRATEGIES)
    kind = extensions.load(extensions.STRATEGIES, name)
    fits = isinstance(kind, type) and issubclass(kind, Strategy) and not kind.needs_loss
    must(fits, f"the entry point {name}", "be a Strategy that needs no loss", kind, "Derive it from Strategy.")
    one_of(f"simulation.backend with {name}", settings.simulation.backend, ("in_process",))
    return _checked(kind(settings), settings)


def needs_loss(name: str) -> bool:
    """Return whether sites send their training loss with this strategy; False for one of another package."""
    return name in STRATEGIES and STRATEGIES[name].needs_loss


def _checked(strategy: Strategy[Any], settings: Settings) -> Strategy[Any]:
    name, needed = settings.strategy.name, strategy.needed_replies(strategy.max_byzantine)
    must(
        settings.federation.quorum >= needed,
        "federation.quorum",
        f"be at least {needed} for {name} with strategy.faulty={settings.strategy.faulty}",
        settings.federation.quorum,
        "Raise it, lower strategy.faulty, or choose another strategy.",
    )
    must(
        not settings.model.oedema or strategy.averages_oedema,
        "model.oedema",
        f"be false with {name}",
        True,
        "Sites without labels for oedema would count against those with: choose a strategy that averages.",
    )
    return strategy
