"""Byzantine-robust strategies, each against the definition of its paper."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean
from strategy_steps import FAR_OFF, settings_for, stepped, update, weights

from teledx_fed.config.federation import FederationSettings, StrategySettings
from teledx_fed.config.settings import Settings
from teledx_fed.federation.strategies.registry import STRATEGIES, strategy_of
from teledx_fed.federation.strategies.robust import Robust

ROBUST = [name for name, kind in STRATEGIES.items() if issubclass(kind, Robust)]


def test_the_median_and_the_trimmed_mean_of_each_weight(tiny_settings: Callable[..., Settings]) -> None:
    """Yin et al. 2018, definitions 1 and 2; numpy and scipy are the references. Counts of examples have no effect."""
    start, updates = weights([5, 6, 7, 8]), [update(values, 1 + i) for i, values in enumerate(FAR_OFF)]
    median = stepped(settings_for(tiny_settings, "fedmedian"), start, updates)
    assert median.parameters.tolist() == pytest.approx(np.median(FAR_OFF, axis=0).tolist(), abs=1e-6)
    for faulty in (1, 2, 3):
        settings = settings_for(tiny_settings, "fedtrimmedavg", strategy__faulty=faulty)
        trimmed = stepped(settings, start, updates).parameters
        assert trimmed.tolist() == pytest.approx(trim_mean(FAR_OFF, (faulty + 0.25) / 7).tolist(), abs=1e-6)


def krum_scores(sent: np.ndarray, faulty: int) -> np.ndarray:
    """Blanchard et al. 2017, section 4: return the sums of squared distances to the n − f − 2 nearest others."""
    squared = ((sent[:, None] - sent[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    return np.sort(squared, axis=1)[:, : len(sent) - faulty - 2].sum(axis=1)


near = arrays(np.float32, (7, 4), elements=st.integers(-50, 50).map(float))


@given(near, st.sampled_from([1, 2]))
def test_krum_and_multikrum_choose_by_the_papers_score(sent: np.ndarray, faulty: int) -> None:
    """Updates are whole numbers, around weights so large that absolute distances would lose precision in float32."""
    scores = krum_scores(sent.astype(np.float64), faulty)
    start = weights([30_000, -30_000, 20_000, 10_000])
    updates = [update((start.parameters + difference).tolist(), 5) for difference in sent]
    for name, chosen in (("krum", 1), ("multikrum", 7 - faulty)):
        settings = Settings(
            strategy=StrategySettings(name=name, faulty=faulty), federation=FederationSettings(quorum=7)
        )
        result = stepped(settings, start, updates).parameters - start.parameters
        worst = np.sort(scores)[chosen - 1]
        if (scores == worst).sum() == 1 or chosen == 7:  # else a tie: either choice is correct
            expected = sent[np.argsort(scores, kind="stable")[:chosen]].mean(axis=0)
            np.testing.assert_allclose(result, expected, atol=0.01)


def test_bulyan_by_hand(tiny_settings: Callable[..., Settings]) -> None:
    """El Mhamdi et al. 2018, with Flower's selection of n − 2f updates by MultiKrum: for each weight, the mean of the
    n − 4f values nearest to the median."""
    sent, settings = np.float64(FAR_OFF), settings_for(tiny_settings, "bulyan")
    chosen = sent[np.argsort(krum_scores(sent, 1), kind="stable")[:5]]
    from_median = np.abs(chosen - np.median(chosen, axis=0))
    nearest = np.take_along_axis(chosen, np.argsort(from_median, axis=0, kind="stable")[:3], axis=0)
    result = stepped(settings, weights([0] * 4), [update(values, 5) for values in FAR_OFF])
    assert result.parameters.tolist() == pytest.approx(nearest.mean(axis=0).tolist(), abs=1e-6)


@pytest.mark.parametrize("name", ROBUST)
def test_one_distant_update_moves_a_robust_strategy_no_further_than_the_other_updates(
    name: str, tiny_settings: Callable[..., Settings]
) -> None:
    updates = [update(values, 5, statistics=[1 + max(values), 1]) for values in FAR_OFF]
    result = stepped(settings_for(tiny_settings, name), weights([0] * 4), updates)
    forged = [replace(updates[0], examples=10**6), *updates[1:]]
    assert stepped(settings_for(tiny_settings, name), weights([0] * 4), forged).equal(result)
    assert (np.abs(result.parameters) <= 1).all()
    assert result.statistics.tolist() == [2, 1]


@pytest.mark.parametrize("name", ROBUST)
def test_a_refused_site_counts_as_one_of_the_faulty(name: str, tiny_settings: Callable[..., Settings]) -> None:
    strategy = strategy_of(settings_for(tiny_settings, name))
    assert isinstance(strategy, Robust)
    needed = strategy.needed_replies(1)
    assert strategy.tolerated(needed) == strategy.max_byzantine == 1
    assert strategy.tolerated(needed - 1) == 0
    assert strategy.tolerated(100) == 1


@pytest.mark.parametrize("name", ROBUST)
def test_a_quorum_too_small_for_a_robust_strategy_is_refused(name: str, tiny_settings: Callable[..., Settings]) -> None:
    needed = strategy_of(settings_for(tiny_settings, name)).needed_replies(2)
    with pytest.raises(ValueError, match=rf"federation\.quorum must be at least {needed} for {name}.*Raise it, lower"):
        strategy_of(tiny_settings(strategy__name=name, strategy__faulty=2, federation__quorum=needed - 1))
    with pytest.raises(ValueError, match=r"model\.oedema must be false"):
        strategy_of(settings_for(tiny_settings, name, model__oedema=True))


def test_a_trim_of_zero_is_refused(tiny_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValueError, match=r"strategy\.faulty must be 1 or more with fedtrimmedavg"):
        strategy_of(settings_for(tiny_settings, "fedtrimmedavg", strategy__faulty=0))
