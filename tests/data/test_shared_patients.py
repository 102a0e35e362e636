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
def test_no_photograph_and_no_person_is_at_two_hospitals(held: dict[str, list[tuple[str, str, int]]]) -> None:
    given = {name: collection(*{photograph[1]: photograph for photograph in of}.values()) for name, of in held.items()}
    found = keep_at_one_source(given, None)
    for name, of in found.items():
        assert len(of.examples) + len(of.set_aside) == len(given[name].examples)
    everything = [shows for of in shown(found).values() for shows in of]
    assert len(everything) == len(set(everything))
    homes: dict[str, set[str]] = {}
    for name, of in given.items():
        for example in of.examples:
            homes.setdefault(example.image.shows, set()).add(f"{name} {example.patient}")
    for together in homes.values():  # patients who share a photograph are one person, at one hospital
        there = {
            name for name, of in found.items() for example in of.examples if f"{name} {example.patient}" in together
        }
        assert len(there) <= 1
    assert keep_at_one_source(dict(reversed(given.items())), None) == found
    assert sum(count_shared({name: of.set_aside for name, of in found.items()}).values()) == sum(
        len(of.set_aside) for of in found.values()
    )


@pytest.mark.usefixtures("exact_only")
def test_a_photograph_that_two_hospitals_grade_differently_is_set_aside_at_both() -> None:
    found = keep_at_one_source(
        {"north": collection(("p", "a", 0), ("q", "b", 1)), "south": collection(("r", "a", 2))}, None
    )
    assert shown(found) == {"north": ["b"], "south": []}
    (aside,) = found["south"].set_aside
    assert (aside.reason, aside.elsewhere) == (SetAsideReason.CONFLICTING_GRADES, "north")
    assert aside.detail == "north 0.jpg 0, south 0.jpg 2"


@pytest.mark.usefixtures("exact_only")
def test_patients_of_one_name_at_two_hospitals_are_two_people() -> None:
    given = {"north": collection(("p", "a", 0)), "south": collection(("p", "b", 2))}
    assert keep_at_one_source(given, None) == given


@pytest.mark.usefixtures("exact_only")
@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["north", "south", "west"]), PHOTOGRAPHS, min_size=2))
def test_where_a_person_stays_their_photographs_are_one_patient(held: dict[str, list[tuple[str, str, int]]]) -> None:
    given = {name: collection(*{photograph[1]: photograph for photograph in of}.values()) for name, of in held.items()}
    now = {
        (name, e.image.shows): e.patient for name, of in keep_at_one_source(given, None).items() for e in of.examples
    }
    as_given = {(name, e.image.shows): e.patient for name, of in given.items() for e in of.examples}
    links = [
        ((a, patient), (b, as_given[b, shows]))
        for (a, shows), patient in as_given.items()
        for b in given
        if (b, shows) in as_given
    ]
    person = merged(links)
    for (name, shows), patient in now.items():
        for (other, also), another in now.items():
            if name == other:
                one = person[name, as_given[name, shows]] == person[name, as_given[name, also]]
                assert one == (patient == another)
        assert patient in {of for (at, _), of in as_given.items() if at == name}


@pytest.mark.usefixtures("exact_only")
def test_a_person_whom_only_the_other_hospital_identifies_is_on_one_side_of_a_split() -> None:
    """`known` has photographs with patients, and `unnamed` has copies of them without patients."""
    chosen = HospitalSettings(patients=12)
    drawn = {name: hospital(name, chosen, seed=0).examples for name in ("both", "known", "unnamed")}
    unnamed = (replace(example, patient=f"row {i}") for i, example in enumerate(drawn["both"]))
    given = {
        "known": Collection((*drawn["both"], *drawn["known"]), Identification.GIVEN),
        "unnamed": Collection((*unnamed, *drawn["unnamed"]), Identification.UNKNOWN),
    }
    person = {example.image.digest(): example.patient for example in drawn["both"]}
    found = keep_at_one_source(given, None)
    assert any(example.image.digest() in person for example in found["unnamed"].examples)
    terms = PartitionSettings(validation=0.3, test=0.3)
    for site in assign(found, terms, 0).values():
        shard, kept = split(site.examples, terms, b"key")
        people = [{person.get(e.image.digest()) for e in getattr(shard, side)} - {None} for side in SIDES]
        assert sum(map(len, people)) == len(set().union(*people))
        assert split(tuple(reversed(site.examples)), terms, b"key", kept) == (shard, kept)


def write(folder: Path, example: Example, image: np.ndarray, quality: int = 95) -> None:
    file = folder / str(example.grade) / f"{example.patient}-{example.eye}-{example.field}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.mark.slow
def test_a_hospital_that_is_a_copy_of_another_encoded_anew_adds_nothing(tmp_path: Path) -> None:
    """The copy is a tenth smaller, at another JPEG quality. Each hospital keeps its own other photographs."""
    drawn = hospital("clinic", HospitalSettings(patients=6), seed=0).examples
    own = {name: hospital(name, HospitalSettings(patients=2), seed=1).examples for name in ("normal", "copied")}
    for example in drawn:
        image = example.image.read()
        smaller = cv2.resize(image, None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
        write(tmp_path / "normal", example, image)
        write(tmp_path / "copied", example, smaller, 70)
    for name, examples in own.items():
        for example in examples:
            write(tmp_path / name, example, example.image.read())
    sources = {name: {"layout": "folder", "root": str(tmp_path / name)} for name in own}
    data = {"sources": sources, "image_size": 224, "cache": str(tmp_path / "cache"), "workers": 1}
    chosen = build({"data_root": str(tmp_path), "data": data})
    reporter = RecordingReporter()
    found, _ = collections(chosen, reporter)
    total = {name: len(of.examples) + len(of.set_aside) for name, of in found.items()}
    assert sum(len(of.examples) for of in found.values()) == len(drawn) + sum(map(len, own.values()))
    assert count_shared({name: of.set_aside for name, of in found.items()}) == {"copied and normal": len(drawn)}
    assert all(0 < len(of.examples) < total[name] for name, of in found.items())
    assert any("copied and normal" in line and "set_aside.csv" in line for line in reporter.messages)


@pytest.mark.slow
def test_synthetic_hospitals_share_no_patient(tmp_path: Path) -> None:
    hospitals = {name: {"patients": 6} for name in ("north", "south")}
    chosen = build({"data": {"hospitals": hospitals, "image_size": 96, "cache": str(tmp_path)}})
    found, _ = collections(chosen, SILENT)
    assert all(not of.set_aside for of in found.values())
