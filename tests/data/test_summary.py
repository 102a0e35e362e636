"""Counts that a hospital sends, and counts that cannot be computed from them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from teledx_fed.core.examples import Example, Identification, SetAside, SetAsideReason, Shard, Site
from teledx_fed.core.updates import Tables
from teledx_fed.data.array_photographs import ArrayPhotograph
from teledx_fed.data.summary import CELL_OF, CELLS, MAKERS, SHAPES, by_cell, inconsistency, summary, suppressed


@dataclass(frozen=True)
class Sized:
    side: int
    name: str = "sized"

    def digest(self) -> str:
        raise AssertionError("a summary reads headers alone")

    def size(self) -> tuple[int, int]:
        return self.side + 100, self.side

    def read(self) -> NDArray[np.uint8]:
        raise AssertionError("a summary reads headers alone")


def hospital(
    *examples: Example,
    patients: Identification = Identification.GIVEN,
    set_aside: tuple[SetAside, ...] = (),
) -> Site:
    return Site("north", Shard(examples[::3], examples[1::3], examples[2::3]), None, patients, set_aside)  # type: ignore[arg-type]


def example(patient: int, grade: int = 0, side: int = 512, **about: object) -> Example:
    return Example(Sized(side), grade, f"p{patient}", **about)  # type: ignore[arg-type]


def nonzero(tables: Tables) -> dict[str, dict[str, int]]:
    return {name: {cell: n for cell, n in cells.items() if n} for name, cells in by_cell(tables).items()}


def test_every_table_counts_the_whole_shard() -> None:
    examples = [
        example(patient, grade=patient % 5, side=(100, 600)[patient % 2], oedema=(None, False, True)[patient % 3])
        for patient in range(30)
        for _ in ("left", "right")
    ]
    aside = tuple(
        SetAside("x", reason) for reason in (SetAsideReason.UNGRADABLE, SetAsideReason.UNGRADABLE, SetAsideReason.BAD)
    )
    tables = summary(hospital(*examples, set_aside=aside), 1)
    assert {name: table.shape for name, table in tables.items()} == SHAPES
    assert nonzero(tables) == {
        "grades": dict.fromkeys("01234", 12),
        "oedema": {"no": 20, "yes": 20, "unknown": 20},
        "cameras": {"unknown": 60},
        "sides": {"0–127": 30, "512–767": 30},
        "patients": {"given": 30},
        "set_aside": {"ungradable": 2, "bad": 1},
        "declared": {"at most": 60},
    }


@pytest.mark.parametrize(
    ("camera", "maker"),
    [
        ("Canon CR2", "canon"),
        ("NIKON NF5050", "nikon"),
        ("Carl ZEISS Visucam of ward 7", "zeiss"),
        ("handheld", "other"),
        ("Jane Doe", "other"),
        ("", "other"),
        ("unknown", "unknown"),
    ],
)
def test_a_camera_is_one_of_a_known_list(camera: str, maker: str) -> None:
    assert nonzero(summary(hospital(example(0, camera=camera)), 1))["cameras"] == {maker: 1}


@pytest.mark.parametrize(("side", "cell"), [(1, "0–127"), (127, "0–127"), (128, "128–223"), (9000, "2048–")])
def test_the_smaller_side_counts(side: int, cell: str) -> None:
    assert nonzero(summary(hospital(example(0, side=side)), 1))["sides"] == {cell: 1}


def test_the_size_of_an_array_is_that_of_its_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 28, 30), np.uint8))
    assert ArrayPhotograph(tmp_path / "a.npz", "images", 1).size() == (28, 30)


def test_patients_of_two_sources_are_not_confused() -> None:
    site = hospital(example(1, source="a"), example(1, source="b"), patients=Identification.INFERRED)
    assert nonzero(summary(site, 1))["patients"] == {"inferred": 2}


def test_many_photographs_of_few_patients_do_not_count() -> None:
    severe = [example(0, grade=4) for _ in range(20)]
    healthy = [example(patient) for patient in range(1, 21)]
    assert nonzero(summary(hospital(*healthy, *severe), 5))["grades"] == {"0": 20}


def test_an_empty_hospital_counts_nothing() -> None:
    assert not any(nonzero(summary(hospital(), 5)).values())


@st.composite
def hospitals(draw: st.DrawFn) -> Site:
    one = st.builds(
        example,
        st.integers(0, 60),
        grade=st.integers(0, 4),
        side=st.sampled_from((100, 300, 600)),
        oedema=st.sampled_from((None, False, True)),
        camera=st.sampled_from(("unknown", "Canon", "home-made")),
    )
    aside = st.builds(SetAside, st.just("x"), st.sampled_from(SetAsideReason))
    return hospital(
        *draw(st.lists(one, max_size=120)),
        patients=draw(st.sampled_from(Identification)),
        set_aside=tuple(draw(st.lists(aside, max_size=20))),
    )


cells = st.integers(1, 8)


@given(hospitals(), cells)
def test_each_count_is_a_multiple_below_the_true_one_and_small_counts_are_zero(site: Site, cell: int) -> None:
    truth, rounded = summary(site, 1), summary(site, cell)
    for name in CELLS.keys() - {"declared"}:
        assert (rounded[name] % cell == 0).all()
        assert (rounded[name] <= truth[name]).all()
        assert (rounded[name][truth[name] < cell] == 0).all()
    assert truth["declared"] <= rounded["declared"] < truth["declared"] + cell
    assert rounded["declared"] % cell == 0
    assert inconsistency(rounded, 1000) is None


@given(hospitals(), cells, st.data())
def test_totals_do_not_reveal_a_count(site: Site, cell: int, data: st.DataObject) -> None:
    """For any summary, the true count of a cell may be any number from the sent count up to the next multiple."""
    tables = {name: table for name, table in summary(site, cell).items() if name != "declared"}
    more = data.draw(st.integers(0, cell - 1))
    where = {name: data.draw(st.integers(0, len(CELLS[name]) - 1)) for name in CELL_OF}
    other = {name: table.copy() for name, table in tables.items()}
    for name, at in where.items():
        other[name][at] += more
    assert all(np.array_equal(table, tables[name]) for name, table in suppressed(other, cell).items())


@given(hospitals(), cells, st.integers(0, 4), st.integers(1, 900))
def test_one_more_patient_changes_each_count_by_at_most_a_multiple(
    site: Site, cell: int, grade: int, side: int
) -> None:
    """Each patient has one photograph; a patient with more would count in more cells."""
    alone = [replace(example, patient=str(n)) for n, example in enumerate(everyone(site))]
    before = summary(hospital(*alone, patients=site.patients), cell)
    after = summary(hospital(*alone, example(999, grade, side), patients=site.patients), cell)
    assert all((np.abs(after[name] - before[name]) <= cell).all() for name in CELLS)


def everyone(site: Site) -> list[Example]:
    return [*site.shard.train, *site.shard.validation, *site.shard.test]


def changed(table: str, *values: float) -> Callable[[dict[str, NDArray[np.float64]]], object]:
    return lambda tables: tables.update({table: np.array(values, np.float64)})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (changed("grades", 10, 10, 0, 0, 5), "one total"),
        (changed("set_aside", 5000, 0, 0, 0, 0), "at most 1000 photographs"),
        (changed("patients", 5, 5, 0), "identify them in one way"),
        (changed("declared", 25), "at most the 25 photographs that the site declares, got 30"),
        (changed("patients", 35, 0, 0), "no more than photographs"),
    ],
)
def test_inconsistent_tables_are_refused_with_the_reason(
    change: Callable[[dict[str, NDArray[np.float64]]], object], fault: str
) -> None:
    tables = dict(summary(hospital(*(example(n, grade=n % 3) for n in range(30))), 5))
    assert inconsistency(tables, 1000) is None
    change(tables)
    assert fault in str(inconsistency(tables, 1000))


def test_counts_are_labelled_by_cell() -> None:
    assert len(set(MAKERS)) == len(MAKERS)
    assert CELLS["sides"][:2] == ("0–127", "128–223")
    assert CELLS["sides"][-1] == "2048–"
