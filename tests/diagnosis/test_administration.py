"""Administration pages: only administrators may use them; and the text of refusals."""

import re
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.web import administration, api
from teledx_fed.diagnosis.web.app import app
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import Role

PASSWORD = "correct horse battery"
HASH = hashed_password(PASSWORD)


class Person:
    """A user who is logged in."""

    def __init__(self, clinic: Clinic, name: str, role: Role) -> None:
        self.client = TestClient(app(clinic, DiagnosisSettings()), base_url="http://127.0.0.1", follow_redirects=False)
        clinic.store.access.add_user(name, role, HASH)
        self.client.post("/login", data={"name": name, "password": PASSWORD})
        self.csrf = re.findall('name="csrf" value="([^"]+)"', self.client.get("/").text)[0]

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, **data: str) -> httpx.Response:
        return self.client.post(path, data={"csrf": self.csrf, **data})


@pytest.fixture
def chief(clinic: Clinic) -> Person:
    return Person(clinic, "chief", Role.ADMIN)


@pytest.fixture
def anna(clinic: Clinic) -> Person:
    return Person(clinic, "anna", Role.READER)


ACTS = {
    "users": {"name": "boris", "role": "admin", "password": PASSWORD},
    "users/role": {"name": "anna", "role": "admin"},
    "users/password": {"name": "chief", "password": "something else"},
    "users/disabled": {"name": "chief", "disabled": "True"},
    "devices": {"name": "camera"},
    "devices/revoked": {"name": "camera"},
    "links": {"label": "clinic by the sea", "hours": "1"},
    "links/revoked": {"link": "1"},
}


def test_administration_needs_an_administrator_and_a_csrf_token(chief: Person, anna: Person, clinic: Clinic) -> None:
    before = clinic.store.access.users()
    assert "/administration" in chief.get("/").text
    assert "/administration" not in anna.get("/").text
    assert anna.get("/administration").status_code == 403
    for path, data in ACTS.items():
        assert anna.post(f"/administration/{path}", **data).status_code == 403, path
        assert chief.post(f"/administration/{path}", **data, csrf="another").status_code == 403, path
    access = clinic.store.access
    assert (access.users(), access.devices(), access.links()) == (before, (), ())


def test_every_administration_route_is_among_the_tested_ones(chief: Person) -> None:
    posts = {route.path for route in administration.router.routes if "POST" in route.methods}
    assert posts == {f"/administration/{act}" for act in ACTS}


def test_adding_promoting_and_disabling_a_user_takes_effect_at_once(chief: Person, clinic: Clinic) -> None:
    chief.post("/administration/users", name="boris", role="reader", password=PASSWORD)
    boris = TestClient(chief.client.app, base_url="http://127.0.0.1", follow_redirects=False)
    assert boris.post("/login", data={"name": "boris", "password": PASSWORD}).status_code == 303
    assert boris.get("/administration").status_code == 403
    chief.post("/administration/users/role", name="boris", role="admin")
    assert boris.get("/administration").status_code == 200
    chief.post("/administration/users/disabled", name="boris", disabled="True")
    assert boris.get("/").headers["location"] == "/login"
    chief.post("/administration/users/disabled", name="boris", disabled="False")
    chief.post("/administration/users/password", name="boris", password="another battery")
    assert boris.post("/login", data={"name": "boris", "password": PASSWORD}).status_code == 401
    assert boris.post("/login", data={"name": "boris", "password": "another battery"}).status_code == 303


@pytest.mark.slow
def test_a_reader_changes_their_own_password_and_is_logged_out_everywhere(anna: Person, clinic: Clinic) -> None:
    wrong = anna.post("/password", old="not the one", new="another battery")
    assert (wrong.status_code, "name or password is wrong" in wrong.text.casefold()) == (422, True)
    short = anna.post("/password", old=PASSWORD, new="short")
    assert (short.status_code, "at least 12" in short.text) == (422, True)
    assert anna.post("/password", old=PASSWORD, new="another battery", csrf="another").status_code == 403
    assert anna.post("/password", old=PASSWORD, new="another battery").headers["location"] == "/login"
    assert anna.get("/").headers["location"] == "/login"
    logged_in = [
        anna.client.post("/login", data={"name": "anna", "password": each}).status_code
        for each in (PASSWORD, "another battery")
    ]
    assert logged_in == [401, 303]


@pytest.mark.parametrize(("act", "data"), [("role", {"role": "reader"}), ("disabled", {"disabled": "True"})])
def test_administrators_cannot_disable_or_demote_themselves(
    chief: Person, clinic: Clinic, act: str, data: dict[str, str]
) -> None:
    answer = chief.post(f"/administration/users/{act}", name="chief", **data)
    assert (answer.status_code, "must be another than yours" in answer.text) == (422, True)
    (user,) = clinic.store.access.users()
    assert (user.role, user.disabled) == (Role.ADMIN, False)


def test_a_device_token_is_shown_once_and_opens_until_it_is_revoked(chief: Person, clinic: Clinic) -> None:
    token = re.findall(
        "shown only once: <code>([^<]+)</code>", chief.post("/administration/devices", name="camera").text
    )[0]
    assert clinic.store.access.device(token)
    assert token not in chief.get("/administration").text
    chief.post("/administration/devices/revoked", name="camera")
    assert clinic.store.access.device(token) is None


@pytest.mark.slow
def test_a_link_is_for_one_patient_until_it_is_revoked(chief: Person, clinic: Clinic, photographs) -> None:
    made = [
        re.findall("shown only once: <code>http://127.0.0.1(/link/[^<]+)</code>", answer.text)[0]
        for answer in (
            chief.post("/administration/links", label="by the sea", hours="1", patient="XZ-4711"),
            chief.post("/administration/links", label="in the hills", hours="1"),
        )
    ]
    shown = chief.get("/administration").text
    assert "by the sea" in shown
    assert "XZ-4711" not in shown
    stranger = TestClient(chief.client.app, base_url="http://127.0.0.1")
    files = {"right": ("a.png", photographs.right), "left": ("b.png", photographs.left)}
    assert stranger.post(made[0], files=files, data={"anyway": "yes"}).status_code == 200
    (entry,) = clinic.store.worklist()
    assert entry.patient == clinic.patients.pseudonym_of("XZ-4711")
    (left,) = clinic.store.access.links()
    chief.post("/administration/links/revoked", link=left.id)
    assert stranger.get(made[1]).status_code == 404


def test_an_image_above_the_size_limit_is_refused(chief: Person, clinic: Clinic, monkeypatch) -> None:
    monkeypatch.setattr(api, "LARGEST_MIB", 0)
    link = clinic.link("by the sea", timedelta(hours=1))
    for path, data in ((f"/link/{link}", {}), ("/upload", {"csrf": chief.csrf, "key": "1"})):
        answer = chief.client.post(path, data=data, files={"right": ("a.png", b"x")})
        assert (answer.status_code, "Each image must be at most" in answer.text) == (413, True), path


def test_a_link_cannot_be_valid_forever(chief: Person) -> None:
    assert chief.post("/administration/links", label="for ever", hours="1e9").status_code == 422


def test_only_administrators_see_who_opened_a_study(chief: Person, anna: Person, clinic: Clinic, photographs) -> None:
    study = clinic.receive(photographs.submitted()).study.id
    assert "Who opened" not in anna.get(f"/studies/{study}").text
    list_of_views = chief.get(f"/studies/{study}").text.partition("Who opened this study")[2]
    assert ("anna: page" in list_of_views, "chief: page" in list_of_views) == (True, True)


def test_an_error_page_links_to_the_studies(chief: Person, clinic: Clinic) -> None:
    missing = chief.get("/studies/none")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such study." in missing.text
    assert 'href="/"' in missing.text
    assert "Log out" in missing.text
    bare = chief.post("/upload", key="k")
    assert (bare.status_code, "1 to 16 photographs" in bare.text) == (422, True)
    unfilled = chief.client.post("/login", data={"name": "chief"})
    assert (unfilled.status_code, "Password: Field required." in unfilled.text) == (422, True)
    stranger = TestClient(chief.client.app, base_url="http://127.0.0.1")
    nowhere = stranger.get("/nowhere<script>")
    assert (nowhere.status_code, "<h1>Not found</h1>" in nowhere.text, "<script>" in nowhere.text) == (404, True, False)
    assert stranger.post("/link/unknown", files={"right": b"1"}).headers["content-type"].startswith("text/html")
    assert stranger.get("/api/v1/nothing").json() == {"detail": "Not Found"}
