"""Readings: a clinician signs only own choices, about the version on the page, after one confirmation."""

import html
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from clinic_reader import READING, Reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_forms import (
    ANNA,
    ANSWERS,
    LEFT,
    MANAGED,
    NONE,
    RIGHT,
    ROWS,
    add_study,
    files,
    form_of,
    line_of,
    suggestion,
)
from starlette.datastructures import FormData

from teledx_fed.core.clinical import Action, Certainty, EyeReading, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.web.pages import StudyView
from teledx_fed.diagnosis.web.reading_form import GRADE, MANAGEMENT, OEDEMA, problems, reading_of
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.diagnosis.wording import eye_sentences
from teledx_fed.store.identified import open_identified
from teledx_fed.store.store import open_store
from teledx_fed.store.values import Role, StudyStatus


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    store, identified = open_store("", folder), open_identified("", folder)
    opened = Clinic(store, identified, open_bundle(bundle_folder, 1), ReferralSettings(), b"k" * 32, threads=1)
    store.access.add_user("bob", Role.READER, None)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reader(clinic: Clinic) -> Reader:
    return Reader(clinic, DiagnosisSettings())


@pytest.fixture(scope="module")
def blinded(clinic: Clinic, reader: Reader) -> Reader:
    return reader.at(DiagnosisSettings(suggestion="after_own_grade"))


@pytest.fixture
def study(clinic: Clinic) -> str:
    return add_study(clinic, Eye.RIGHT, Eye.LEFT)


@pytest.fixture
def view(clinic: Clinic, study: str) -> StudyView:
    return StudyView(clinic.store.study(study), clinic.store.suggestions(study)[-1], ())


def test_the_form_starts_empty_whatever_is_suggested(
    reader: Reader, blinded: Reader, clinic: Clinic, study: str
) -> None:
    for who, certainty, graded in product((reader, blinded), Certainty, (NONE, None)):
        clinic.store.add_suggestion(study, suggestion(certainty, graded))
        form = form_of(who.get(f"/studies/{study}").text)
        assert [word for word in ("selected", "checked", "disabled") if word in form] == [], (certainty, graded)
        assert form.count('<option value="">choose</option>') == len(ANSWERS)


@pytest.mark.parametrize("sign", ["yes", "no"])
@pytest.mark.parametrize("missing", ANSWERS)
def test_missing_choices_are_requested_and_the_others_are_kept(
    reader: Reader, clinic: Clinic, study: str, missing: str, sign: str
) -> None:
    chosen = {**READING, "left_treated": "yes", "left_findings": "drusen", "note": "<b>"}
    for wrong in ({}, {missing: ""}, {missing: "perhaps"}):
        page = reader.read(study, sign, **{name: chosen[name] for name in chosen if name != missing} | wrong)
        what = missing.partition("_")[0].replace("urgency", "the management")
        assert (page.status_code, what in page.text.partition('role="alert"')[2].lower()[:120]) == (422, True), wrong
        form = form_of(page.text)
        assert form.count(" selected") == len(ANSWERS) - 1
        assert form.count(" checked") == 2
        assert "&lt;b&gt;" in form
    assert clinic.store.readings(study) == ()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            **{f"{eye}_grade": st.sampled_from([*GRADE, "", "5", "yes"]) for eye in ("right", "left")},
            **{f"{eye}_oedema": st.sampled_from([*OEDEMA, "", "0"]) for eye in ("right", "left")},
            **{f"{eye}_treated": st.sampled_from(["yes", "no"]) for eye in ("right", "left")},
            "urgency": st.sampled_from([*MANAGEMENT, "", "nothing"]),
            "overrules": st.sampled_from(["", " ", "a reflex", "x" * 4001]),
        },
    )
)
def test_a_reading_has_exactly_the_choices_of_the_form(view: StudyView, chosen: dict[str, str]) -> None:
    form = FormData(chosen)
    if faults := problems(form, view):
        assert all(line.endswith(".") for line in faults)
        return
    reading = reading_of(form, view, ANNA, datetime.now(UTC))
    for eye in reading.eyes:
        grade = chosen[f"{eye.eye}_grade"]
        assert (eye.gradable, "ungradable" if eye.grade is None else str(eye.grade)) == (grade != "ungradable", grade)
        assert {True: "yes", False: "no", None: "unknown"}[eye.oedema] == chosen[f"{eye.eye}_oedema"]
        assert eye.treated == (chosen.get(f"{eye.eye}_treated") == "yes")
    assert reading.urgency == chosen["urgency"]
    follows = all(eye.grade == 0 for eye in reading.eyes) and reading.urgency is Action.RESCREEN
    assert follows or reading.overrules


def test_a_reading_without_a_choice_to_sign_is_not_added(reader: Reader, clinic: Clinic, study: str) -> None:
    for sign in ("", "perhaps"):
        response = reader.read(study, sign, **READING)
        assert (response.status_code, "Choose whether to sign" in response.text) == (422, True)
    assert clinic.store.readings(study) == ()


def test_signing_asks_once_and_shows_what_will_be_signed(reader: Reader, clinic: Clinic, study: str) -> None:
    chosen = {**READING, "left_grade": "ungradable", "left_findings": "cataract", "note": 'a "note"\r\n& more'}
    confirmation = reader.read(study, "yes", **chosen)
    assert confirmation.status_code == 200
    main = html.unescape(confirmation.text.partition("<main>")[2])
    right, left, management = (main.partition(f'"row">{row}')[2].partition("</tr>")[0] for row in ROWS)
    for row, words in ((right, RIGHT), (left, LEFT), (management, MANAGED)):
        assert [word for word in words if word not in row] == []
    assert [word for word in ("a reflex", 'a "note"', "as anna") if word not in main] == []
    assert clinic.store.readings(study) == ()
    assert reader.confirm(study, confirmation).headers["location"] == "/"
    (stored,) = clinic.store.readings(study)
    assert stored.signed is not None
    assert stored.reading.eyes == (
        EyeReading(Eye.RIGHT, True, 1, oedema=False),
        EyeReading(Eye.LEFT, False, None, oedema=None, findings=("cataract",)),
    )
    assert (stored.reading.urgency, stored.reading.note) == (Action.REFER, 'a "note"\n& more')
    assert clinic.store.study(study).entry.status is StudyStatus.SIGNED


def test_a_reading_that_follows_the_suggestion_does_not_differ(reader: Reader, study: str) -> None:
    agreed = {**READING, "right_grade": "0", "urgency": "rescreen", "overrules": ""}
    assert "differs" not in reader.read(study, "yes", **agreed).text


def test_overruling_the_suggestion_needs_a_reason(reader: Reader, clinic: Clinic, study: str) -> None:
    for changed in ({"right_grade": "ungradable"}, {"right_grade": "3"}, {"urgency": "urgent"}):
        agreed = {**READING, "right_grade": "0", "urgency": "rescreen", "overrules": ""}
        response = reader.read(study, "yes", **{**agreed, **changed})
        assert (response.status_code, "State why" in response.text) == (422, True), changed
    clinic.store.add_suggestion(study, suggestion(Certainty.UNGRADABLE))
    graded = {**READING, "urgency": "rescreen", "overrules": ""}
    assert "differs" not in reader.read(study, "yes", **graded).text, "no grade was suggested"


def test_an_eye_that_was_not_photographed_is_named_before_signing(reader: Reader, clinic: Clinic) -> None:
    study = add_study(clinic, Eye.RIGHT)
    confirmation = reader.read(study, "yes", **READING).text
    assert "No photograph: not read" in confirmation.partition('"row">Left eye')[2].partition("</tr>")[0]


def test_changed_choices_must_be_confirmed_again(reader: Reader, clinic: Clinic, study: str) -> None:
    confirmation = reader.read(study, "yes", **READING)
    confirmed = confirmation.text.partition('name="confirmed" value="')[2].partition('"')[0]
    again = reader.read(study, "yes", **{**READING, "left_grade": "4"}, confirmed=confirmed)
    assert (again.status_code, "proliferative retinopathy" in again.text) == (200, True)
    assert clinic.store.readings(study) == ()


def test_going_back_from_the_confirmation_keeps_the_choices(reader: Reader, clinic: Clinic, study: str) -> None:
    page = reader.read(study, "change", **READING)
    assert form_of(page.text).count(" selected") == len(ANSWERS)
    assert 'name="overrules" maxlength="4000" value="a reflex"' in page.text
    assert clinic.store.readings(study) == ()


def test_a_reading_of_a_study_that_changed_meanwhile_is_not_added(reader: Reader, clinic: Clinic, study: str) -> None:
    opened, confirmation = reader.version(study), reader.read(study, "yes", **READING)
    clinic.store.add_suggestion(study, suggestion(Certainty.UNCERTAIN))
    for stale in (reader.read(study, "no", **READING, version=opened), reader.confirm(study, confirmation)):
        assert (stale.status_code, "has changed since you opened it" in stale.text) == (409, True)
        assert "selected" not in form_of(stale.text)
    assert clinic.store.readings(study) == ()


def test_a_form_that_is_sent_twice_signs_once(reader: Reader, clinic: Clinic, study: str) -> None:
    confirmation = reader.read(study, "yes", **READING)
    assert [reader.confirm(study, confirmation).status_code for _ in range(2)] == [303, 409]
    assert len(clinic.store.readings(study)) == 1
    assert "It amends the reading that anna signed" in reader.read(study, "yes", **READING).text


def test_a_note_that_is_too_long_is_not_cut(reader: Reader, clinic: Clinic, study: str) -> None:
    assert "The note must have at most 4000 characters" in reader.read(study, **READING, note="x" * 4001).text
    assert clinic.store.readings(study) == ()
    reader.read(study, **READING, note="x\r\n" * 2000)
    (stored,) = clinic.store.readings(study)
    assert len(stored.reading.note) == 3999


@pytest.mark.parametrize("refers", [False, True])
def test_an_ungradable_eye_shows_no_grade_but_its_disease(reader: Reader, clinic: Clinic, study, refers) -> None:
    graded = replace(NONE, refers=refers)
    clinic.store.add_suggestion(study, suggestion(Certainty.UNGRADABLE, graded))
    page = reader.get(f"/studies/{study}").text
    assert [word for word in ("most likely", "Probability of each grade") if word in page] == []
    assert "Not gradable: the photograph is blurred." in page
    assert ("Referable disease" in page) == refers
    assert [eye["grade"] for eye in reader.get(f"/studies/{study}/report.json").json()["eyes"]] == [None, None]
    assert "no apparent" not in " ".join(eye_sentences(suggestion(Certainty.UNGRADABLE, graded).eyes[0]))


def test_blinded_readers_see_no_suggestion_in_lists_and_no_readings_of_others(
    blinded: Reader, clinic: Clinic, study: str
) -> None:
    assert "Photograph again" not in line_of(blinded, study)
    eyes = (EyeReading(Eye.RIGHT, True, 4), EyeReading(Eye.LEFT, True, 4))
    bobs = Reading(study, "bob", datetime.now(UTC), eyes, Action.URGENT, None, False, note="new vessels")
    clinic.store.add_reading(bobs, sign=False)
    assert "urgent" not in line_of(blinded, study)
    assert "new vessels" not in blinded.get(f"/studies/{study}").text
    assert blinded.read(study, **READING).status_code == 303
    assert "new vessels" in blinded.get(f"/studies/{study}").text


def test_blinded_readers_grade_a_late_photograph_before_the_suggestion_is_shown(
    blinded: Reader, clinic: Clinic
) -> None:
    study = add_study(clinic, Eye.RIGHT)
    blinded.read(study, **READING)
    assert "most likely" in blinded.get(f"/studies/{study}").text
    assert clinic.store.grow_study(clinic.store.study(study), files(clinic, Eye.LEFT), suggestion(), ())
    assert "most likely" not in blinded.get(f"/studies/{study}").text
