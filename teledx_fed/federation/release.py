"""Write the files that a run releases: the best round's model, and what a hospital needs to adopt it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError, IntegrityError
from teledx_fed.core.files import write_text
from teledx_fed.core.score_tables import BINS
from teledx_fed.evaluation.operating_points import PooledEvidence, as_json, pooled_evidence
from teledx_fed.federation.checkpoint import Scored
from teledx_fed.model.card import FILE, Card, network_card
from teledx_fed.training.bundling import TrainingFacts, preparation
from teledx_fed.training.worker import SiteModel, Worker

POOLED = "pooled.json"


def release(worker: Worker, models: Sequence[SiteModel], best: Scored, settings: Settings, model: Path) -> None:
    """Write the best round's model, its card and its `pooled.json`."""
    trained: TrainingFacts = {
        "network": settings.model.name,
        "strategy": settings.strategy.name,
        "best_round": best.round,
        "validation_eyes": int(best.tables["eyes"][0]) if best.tables else None,
    }
    network = network_card(worker.network, settings.data.image_size)
    card = Card(network, preparation(settings.data), trained, demonstration=bool(settings.data.hospitals))
    worker.save(models, model, card.block)
    write_text(model.with_name(FILE), card.markdown())
    write_pooled(best, model)


def write_pooled(best: Scored, model: Path) -> None:
    """Write `pooled.json` beside the model: histograms of the scores of diseased eyes in the validation sets.

    The counts are summed over hospitals; none counts for more than all others together. The file holds the digest of
    the model. A hospital with few such eyes sets its thresholds by these counts. Without counts there is no file.
    """
    model.with_name(POOLED).unlink(missing_ok=True)
    if (evidence := pooled_evidence(best.evidence)) is not None:
        pooled = {"model": digest(model), "round": best.round, "eyes": int(best.tables["eyes"][0]), **as_json(evidence)}
        write_text(model.with_name(POOLED), json.dumps(pooled) + "\n")


def read_pooled(model: Path) -> PooledEvidence | None:
    """Return the counts; None without a file. A `DataError` if invalid, an `IntegrityError` if of another model."""
    path = model.with_name(POOLED)
    if not path.is_file():
        return None
    try:
        pooled = json.loads(path.read_text())
        counts = {name: _counts(pooled[name]) for name in ("referable", "urgent") if name in pooled}
        of, referable = pooled["model"], counts["referable"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} must hold {BINS} counts of eyes, got others ({error}). Ask for it again.") from error
    must(
        of == digest(model),
        str(path),
        f"be of {model.name}",
        f"another model's ({str(of)[:12]})",
        "Ask for both.",
        IntegrityError,
    )
    return PooledEvidence(referable, counts.get("urgent"))


def digest(model: Path) -> str:
    """Return the SHA-256 of a model file."""
    return hashlib.sha256(model.read_bytes()).hexdigest()


def _counts(values: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    counts = np.asarray(values, dtype=np.float64)
    if counts.shape != (BINS,) or not np.isfinite(counts).all() or (counts < 0).any() or (counts % 1).any():
        raise DataError(f"shape {counts.shape}")
    return counts
