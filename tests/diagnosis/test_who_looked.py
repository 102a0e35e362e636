"""View log: each page, image and report of a study logs its user, once for each view."""

from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web import pages, reports
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
HASH = PasswordHasher(1, 64, 1).hash(PASSWORD)
SHOWING = sorted(
    route.path
    for part in (pages, reports)
    for route in part.router.routes
    if "{study}" in route.path and "GET" in route.methods  # type: ignore[attr-defined]
)


@pytest.fixture
def study(clinic: Clinic, photographs) -> str:
    return clinic.receive(photographs.submitted(patient="4711")).study.id


def reader(clinic: Clinic, name: str = "anna") -> TestClient:
    client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1", follow_redirects=False)
    clinic.store.access.add_user(name, Role.READER, HASH)
    client.post("/login", data={"name": name, "password": PASSWORD})
    return client


def pictures(clinic: Clinic, study: str) -> list[str]:
    digests = [image.digest for image in clinic.store.study(study).images]
    return [f"/studies/{study}/{kind}/{digest}.png" for digest in digests for kind in ("images", "maps/heat_map")]


def seen(clinic: Clinic, study: str) -> list[str]:
    return [f"{view.user}: {view.what}" for view in clinic.store.views.of_study(study)]


@pytest.mark.slow
def test_every_page_of_a_study_logs_a_view(clinic: Clinic, study: str) -> None:
    anna, digest = reader(clinic), clinic.store.study(study).images[0].digest
    for path in SHOWING:
        clinic.store.views._clock = lambda before=clinic.store.views._clock: before() + timedelta(hours=1)  # type: ignore[misc]
        before = len(seen(clinic, study))
        assert anna.get(path.format(study=study, digest=digest, kind="heat_map")).status_code == 200, path
        assert len(seen(clinic, study)) == before + 1, path
    assert len(SHOWING) >= 7


def test_a_pages_own_pictures_are_one_view_with_it(clinic: Clinic, study: str) -> None:
    anna = reader(clinic)
    anna.get(f"/studies/{study}")
    for path in pictures(clinic, study) * 2:
        assert anna.get(path).status_code == 200
    assert seen(clinic, study) == ["anna: page"]


def test_a_picture_without_its_page_is_logged_also_after_another_users_view(clinic: Clinic, study: str) -> None:
    anna, boris, digest = reader(clinic), reader(clinic, "boris"), clinic.store.study(study).images[0].digest
    boris.get(f"/studies/{study}")
    for path in pictures(clinic, study)[:2] * 2:
        anna.get(path)
    assert seen(clinic, study)[1:] == [f"anna: photograph {digest[:12]}", f"anna: heat_map {digest[:12]}"]


def test_a_picture_opened_later_is_another_view(clinic: Clinic, study: str) -> None:
    anna, path = reader(clinic), pictures(clinic, study)[0]
    anna.get(f"/studies/{study}")
    clinic.store.views._clock = lambda before=clinic.store.views._clock: before() + timedelta(minutes=11)  # type: ignore[misc]
    anna.get(path)
    assert len(seen(clinic, study)) == 2


def test_a_missing_picture_is_not_logged(clinic: Clinic, study: str) -> None:
    anna = reader(clinic)
    assert anna.get(f"/studies/{study}/images/{'0' * 64}.png").status_code == 404
    assert anna.get(f"/studies/{study}/maps/shap/{clinic.store.study(study).images[0].digest}.png").status_code == 404
    assert seen(clinic, study) == []
