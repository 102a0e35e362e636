"""A person with photographs at two hospitals of a simulation stays at one of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reporters import RecordingReporter

from teledx_fed.config.data import HospitalSettings, PartitionSettings
from teledx_fed.config.loading import build
from teledx_fed.core.examples import Collection, Example, Identification, SetAsideReason
from teledx_fed.core.reports import SILENT
from teledx_fed.data import shared_patients
from teledx_fed.data.duplicates import merged
from teledx_fed.data.hospitals import collections
from teledx_fed.data.partition import assign
from teledx_fed.data.shared_patients import count_shared, keep_at_one_source
from teledx_fed.data.split import SIDES, split
from teledx_fed.data.synthetic import hospital


@dataclass(frozen=True)
class Named:
    """A photograph whose digest is `shows`."""

    name: str
    shows: str

    def digest(self) -> str:
        return self.shows


def collection(*photographs: tuple[str, str, int]) -> Collection:
    """Make a collection from tuples of patient, digest and grade."""
    examples = (
        Example(Named(f"{i}.jpg", shows), grade, patient) for i, (patient, shows, grade) in enumerate(photographs)
    )
    return Collection(tuple(examples), Identification.GIVEN)


@pytest.fixture
def exact_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable near copies, which would need prepared photographs."""
    monkeypatch.setattr(shared_patients, "hashes", lambda examples, images: np.zeros((0, 575), bool))
    monkeypatch.setattr(shared_patients, "aligned", lambda pairs, examples, images: [])


def shown(collections: dict[str, Collection]) -> dict[str, list[str]]:
    return {name: [example.image.shows for example in of.examples] for name, of in collections.items()}


PHOTOGRAPHS = st.lists(st.tuples(st.sampled_from("pqrst"), st.sampled_from("abcdefgh"), st.integers(0, 1)), max_size=8)


@pytest.mark.usefixtures("exact_only")
@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["north", "south", "west"]), PHOTOGRAPHS, min_size=1))
def test_no_photograph_and_no_person_is_at_two_hospitals(photographs: dict[str, list[tuple[str, str, int]]]) -> None:
    hospitals = {
        name: collection(*{photograph[1]: photograph for photograph in of}.values()) for name, of in photographs.items()
    }
    distinct = keep_at_one_source(hospitals, None)
    for name, of in distinct.items():
        assert len(of.examples) + len(of.set_aside) == len(hospitals[name].examples)
    everything = [shows for of in shown(distinct).values() for shows in of]
    assert len(everything) == len(set(everything))
    homes: dict[str, set[str]] = {}
    for name, of in hospitals.items():
        for example in of.examples:
            homes.setdefault(example.image.shows, set()).add(f"{name} {example.patient}")
    for together in homes.values():  # patients who share a photograph are one person, at one hospital
        places = {
            name for name, of in distinct.items() for example in of.examples if f"{name} {example.patient}" in together
        }
        assert len(places) <= 1
    assert keep_at_one_source(dict(reversed(hospitals.items())), None) == distinct
    assert sum(count_shared({name: of.set_aside for name, of in distinct.items()}).values()) == sum(
        len(of.set_aside) for of in distinct.values()
    )


@pytest.mark.usefixtures("exact_only")
def test_a_photograph_that_two_hospitals_grade_differently_is_set_aside_at_both() -> None:
    distinct = keep_at_one_source(
        {"north": collection(("p", "a", 0), ("q", "b", 1)), "south": collection(("r", "a", 2))}, None
    )
    assert shown(distinct) == {"north": ["b"], "south": []}
    (aside,) = distinct["south"].set_aside
    assert (aside.reason, aside.elsewhere) == (SetAsideReason.CONFLICTING_GRADES, "north")
    assert aside.detail == "north 0.jpg 0, south 0.jpg 2"


@pytest.mark.usefixtures("exact_only")
def test_patients_of_one_name_at_two_hospitals_are_two_people() -> None:
    hospitals = {"north": collection(("p", "a", 0)), "south": collection(("p", "b", 2))}
    assert keep_at_one_source(hospitals, None) == hospitals


@pytest.mark.usefixtures("exact_only")
@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["north", "south", "west"]), PHOTOGRAPHS, min_size=2))
def test_a_person_is_one_patient_at_the_selected_hospital(photographs: dict[str, list[tuple[str, str, int]]]) -> None:
    hospitals = {
        name: collection(*{photograph[1]: photograph for photograph in of}.values()) for name, of in photographs.items()
    }
    distinct = {
        (name, e.image.shows): e.patient
        for name, of in keep_at_one_source(hospitals, None).items()
        for e in of.examples
    }
    as_given = {(name, e.image.shows): e.patient for name, of in hospitals.items() for e in of.examples}
    links = [
        ((a, patient), (b, as_given[b, shows]))
        for (a, shows), patient in as_given.items()
        for b in hospitals
        if (b, shows) in as_given
    ]
    person = merged(links)
    for (name, shows), patient in distinct.items():
        for (other, also), another in distinct.items():
            if name == other:
                one = person[name, as_given[name, shows]] == person[name, as_given[name, also]]
                assert one == (patient == another)
        assert patient in {of for (at, _), of in as_given.items() if at == name}


@pytest.mark.usefixtures("exact_only")
def test_a_person_identified_only_by_another_hospital_is_on_one_side_of_a_split() -> None:
    """`known` has photographs with patients, and `unnamed` has copies of them without patients."""
    chosen = HospitalSettings(patients=12)
    drawn = {name: hospital(name, chosen, seed=0).examples for name in ("both", "known", "unnamed")}
    unnamed = (replace(example, patient=f"row {i}") for i, example in enumerate(drawn["both"]))
    hospitals = {
        "known": Collection((*drawn["both"], *drawn["known"]), Identification.GIVEN),
        "unnamed": Collection((*unnamed, *drawn["unnamed"]), Identification.UNKNOWN),
    }
    person = {example.image.digest(): example.patient for example in drawn["both"]}
    distinct = keep_at_one_source(hospitals, None)
    assert any(example.image.digest() in person for example in distinct["unnamed"].examples)
    terms = PartitionSettings(validation=0.3, test=0.3)
    for site in assign(distinct, terms, 0).values():
        shard, state = split(site.examples, terms, b"key")
        people = [{person.get(e.image.digest()) for e in getattr(shard, side)} - {None} for side in SIDES]
        assert sum(map(len, people)) == len(set().union(*people))
        assert split(tuple(reversed(site.examples)), terms, b"key", state) == (shard, state)


def write(folder: Path, example: Example, image: np.ndarray, quality: int = 95) -> None:
    file = folder / str(example.grade) / f"{example.patient}-{example.eye}-{example.field}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.mark.slow
def test_a_re_encoded_copy_of_a_hospital_adds_no_photographs(tmp_path: Path) -> None:
    """The copy is a tenth smaller, at another JPEG quality. Each hospital keeps its own other photographs."""
    drawn = hospital("clinic", HospitalSettings(patients=6), seed=0).examples
    examples_of = {name: hospital(name, HospitalSettings(patients=2), seed=1).examples for name in ("normal", "copied")}
    for example in drawn:
        image = example.image.read()
        smaller = cv2.resize(image, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
        write(tmp_path / "normal", example, image)
        write(tmp_path / "copied", example, smaller, 70)
    for name, examples in examples_of.items():
        for example in examples:
            write(tmp_path / name, example, example.image.read())
    sources = {name: {"layout": "folder", "root": str(tmp_path / name)} for name in examples_of}
    data = {"sources": sources, "image_size": 224, "cache": str(tmp_path / "cache"), "workers": 1}
    chosen = build({"data_root": str(tmp_path), "data": data})
    reporter = RecordingReporter()
    distinct, _ = collections(chosen.data, reporter)
    total = {name: len(of.examples) + len(of.set_aside) for name, of in distinct.items()}
    assert sum(len(of.examples) for of in distinct.values()) == len(drawn) + sum(map(len, examples_of.values()))
    assert count_shared({name: of.set_aside for name, of in distinct.items()}) == {"copied and normal": len(drawn)}
    assert all(0 < len(of.examples) < total[name] for name, of in distinct.items())
    assert any("copied and normal" in line and "set_aside.csv" in line for line in reporter.messages)


@pytest.mark.slow
def test_synthetic_hospitals_share_no_patient(tmp_path: Path) -> None:
    hospitals = {name: {"patients": 6} for name in ("north", "south")}
    chosen = build({"data": {"hospitals": hospitals, "image_size": 96, "cache": str(tmp_path)}})
    distinct, _ = collections(chosen.data, SILENT)
    assert all(not of.set_aside for of in distinct.values())
