"""The clinic's page of the model in use."""

from dataclasses import replace

import pytest
from points import points
from test_administration import Person

from teledx_fed.core.operating_points import Source
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.store.values import Role


def test_it_shows_both_operating_points_in_counts_and_says_what_is_withheld(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bundle = Person(clinic, "anna", Role.READER), clinic.bundle
    decided = " ".join(anna.get("/model").text.split())
    for phrase in ("18 of 20", "95 of 100", "18 of 23", "set by sensitivity 0.9", bundle.digest, "rounds: 3"):
        assert phrase in decided, phrase
    assert "Not decided" not in decided
    calibration = replace(bundle.manifest.calibration, points=points(0.3, 0.4, Source.WITHHELD))
    monkeypatch.setattr(bundle, "manifest", replace(bundle.manifest, calibration=calibration))
    withheld = " ".join(anna.get("/model").text.split())
    assert "Not decided by the model here: 3 diseased eyes are too few" in withheld
    assert "0.400 or more is still referred" in withheld
    anna.client.cookies.clear()
    assert anna.get("/model").status_code in (303, 401)
