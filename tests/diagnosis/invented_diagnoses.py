"""Hypothesis strategies of studies, diagnoses and readings."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from teledx_fed.core.clinical import (
    Action,
    Certainty,
    Diagnosis,
    EyeDiagnosis,
    EyeReading,
    Fault,
    Graded,
    Reading,
    Study,
    StudyImage,
)
from teledx_fed.core.examples import Eye
from teledx_fed.data.photographs import PhotographFile

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = "canary"
PHOTOGRAPH = StudyImage(PhotographFile(Path(f"/{CANARY}/{CANARY}.jpg")), Eye.LEFT)
texts = st.text(max_size=30)

graded = st.builds(
    lambda grade, oedema: Graded(
        tuple(0.8 if each == grade else 0.05 for each in range(5)), (grade,), 0.3, 0.1, grade >= 2, grade >= 3, oedema
    ),
    st.integers(0, 4),
    st.none() | st.floats(0, 1),
)
eyes = st.lists(
    st.builds(
        EyeDiagnosis,
        eye=st.sampled_from(list(Eye)),
        certainty=st.sampled_from(list(Certainty)),
        action=st.sampled_from(list(Action)),
        reasons=st.lists(st.sampled_from(list(Fault)), max_size=2).map(tuple),
        graded=st.none() | graded,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda eye: eye.eye,
).map(tuple)
diagnoses = st.builds(
    Diagnosis,
    eyes=eyes,
    certainty=st.sampled_from(list(Certainty)),
    action=st.sampled_from(list(Action)),
    months=st.none() | st.floats(0.1, 24),
    model=st.just("0" * 64),
    demonstration=st.booleans(),
)
studies = st.builds(
    Study,
    id=st.just("study"),
    images=st.just((PHOTOGRAPH,)),
    patient=st.none() | st.just("pseudonym"),
    acquired=st.none() | st.sampled_from(["2026-02-01", "2026-02-01T10:30:00", "2026-02-01T10:30:00+01:00"]),
)
readings = st.builds(
    Reading,
    study=st.just("study"),
    reader=texts,
    time=st.just(NOW),
    eyes=st.lists(
        st.builds(EyeReading, eye=st.sampled_from(list(Eye)), gradable=st.just(True), grade=st.integers(0, 4)),
        min_size=1,
        max_size=3,
        unique_by=lambda eye: eye.eye,
    ).map(tuple),
    urgency=st.sampled_from(list(Action)),
    suggestion=st.none(),
    seen=st.booleans(),
    overrules=texts,
    note=texts,
)
