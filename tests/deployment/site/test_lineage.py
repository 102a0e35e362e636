from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from benchmarks.jobs.processes import draw_photographs
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Collection, Example, Identification, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.data.array_photographs import PhotographInMemory
from teledx_fed.data.hospitals import _without_patients, hospitals
from teledx_fed.deployment.site import lineage
from teledx_fed.deployment.site.hospital import own_settings
from teledx_fed.deployment.site.layout import init_site
from teledx_fed.deployment.site.settings import SiteDirectory

DAY = date(2026, 11, 25)


@pytest.fixture
def directory(tmp_path: Path) -> SiteDirectory:
    draw_photographs(tmp_path / "photographs", "north", 20)
    (tmp_path / "ca.crt").write_text("")
    made = SiteDirectory(tmp_path / "site")
    init_site(made, "north", "localhost:9092", tmp_path / "ca.crt")
    terms = OmegaConf.load(made.folder / "site.yaml")
    OmegaConf.save(OmegaConf.merge(terms, {"data": {"root": str(tmp_path / "photographs")}}), made.folder / "site.yaml")
    return made


def site(directory: SiteDirectory, settings: Settings) -> Site:
    site_settings = own_settings(settings, directory)
    key, withdrawn = directory.split_key.read_bytes(), lineage.excluded(directory)
    return hospitals(site_settings, directory.state, SILENT, key, withdrawn)["north"]


def sides(site: Site) -> dict[str, str]:
    shard = site.shard
    return {
        example.patient: side
        for side, examples in (("train", shard.train), ("validation", shard.validation), ("test", shard.test))
        for example in examples
    }


def test_an_excluded_patient_is_in_no_shard_and_no_cache(
    directory: SiteDirectory, tiny_settings: Callable[..., Settings]
) -> None:
    before = site(directory, tiny_settings())
    leaving = before.shard.train[0]
    patient = leaving.patient.removeprefix("north/")
    (prepared,) = directory.cache.rglob(f"{leaving.image.digest()}.npy")
    assert lineage.exclude(directory, patient) == 1
    assert not prepared.exists()
    after = site(directory, tiny_settings())
    assert sides(after) == {name: side for name, side in sides(before).items() if name != leaving.patient}
    assert not list(directory.cache.rglob(prepared.name))


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *[("José 07", "utf-8"), ("José 07", "utf-16"), ("José 07", "cp1252"), ("jose\u0301 07 ", "utf-8-sig")],
        *[("JOSÉ 07\r", "utf-8"), ("Jose", "utf-8")],
    ],
)
def test_excluded_patients_match_in_any_encoding(directory: SiteDirectory, name: str, encoding: str) -> None:
    image = PhotographInMemory("eye", np.zeros((2, 2, 3), np.uint8))
    collection = Collection((Example(image, 0, "José 07"), Example(image, 0, "8")), Identification.GIVEN)
    directory.excluded.write_bytes(f"{name}\n".encode(encoding))
    withdrawn = lineage.excluded(directory)
    stays = name == "Jose"
    assert [example.patient for example in _without_patients(collection, withdrawn).examples] == ["José 07", "8"][
        not stays :
    ]
    assert lineage.unmatched(withdrawn, collection.examples) == (["Jose"] if stays else [])


@pytest.mark.parametrize("fold", range(2))
def test_a_requested_fold_does_not_change_the_split(
    directory: SiteDirectory, tiny_settings: Callable[..., Settings], fold: int
) -> None:
    folded = tiny_settings(evaluation__folds=2, evaluation__fold=fold)
    assert sides(site(directory, folded)) == sides(site(directory, tiny_settings()))


def test_lineage_lists_the_rounds_that_trained_on_a_patient(
    directory: SiteDirectory, tiny_settings: Callable[..., Settings]
) -> None:
    train = site(directory, tiny_settings()).shard.train
    patient = train[0].patient.removeprefix("north/")
    for round in (1, 2):
        lineage.record(directory, "first", round, DAY, train)
    lineage.record(directory, "second", 1, DAY, train[1:])
    assert lineage.rounds_of(directory, patient) == [("first", 1), ("first", 2)]
    assert lineage.rounds_of(directory, train[1].patient.removeprefix("north/")) == [
        *[("first", r) for r in (1, 2)],
        ("second", 1),
    ]
    assert lineage.rounds_of(directory, "nobody") == []
    assert lineage.rounds_on(directory, DAY) == 3
    assert lineage.rounds_on(directory, date(2026, 11, 26)) == 0


def test_an_unknown_patient_is_an_error(directory: SiteDirectory) -> None:
    with pytest.raises(ValueError, match="PATIENT must be in the hospital's data, got 'nobody'"):
        lineage.exclude(directory, "nobody")
    assert lineage.excluded(directory) == frozenset()
