"""Demonstration hospital of `make demo`, and other tests of the diagnosis folder."""

import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teledx_fed.diagnosis.demonstration import PATIENTS, create_demonstration
from teledx_fed.diagnosis.directory import DEMONSTRATION, DiagnosisDirectory


@pytest.mark.slow
def test_the_demonstration_has_studies_of_synthetic_patients(demonstration_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(demonstration_folder, tmp_path / "run" / "bundles" / "north")
    home = DiagnosisDirectory(tmp_path / "hospital")
    create_demonstration(home, tmp_path / "run")
    clinic = home.clinic(None)
    assert len(clinic.store.worklist()) == PATIENTS
    (suggestion,) = clinic.store.suggestions(clinic.store.worklist()[0].id)
    assert suggestion.diagnosis.demonstration
    clinic.close()
    with pytest.raises(ValueError, match="must be new"):
        create_demonstration(home, tmp_path / "run")


def test_a_run_without_bundles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a run folder with bundles"):
        create_demonstration(DiagnosisDirectory(tmp_path / "hospital"), tmp_path / "run")


def test_the_pseudonym_key_is_created_once_and_readable_only_by_its_owner(bundle_folder: Path, tmp_path: Path) -> None:
    home = DiagnosisDirectory(tmp_path)
    first, again = (home.clinic(bundle_folder) for _ in range(2))
    assert first.patients.pseudonym_of("7") == again.patients.pseudonym_of("7") != "7"
    assert (tmp_path / "secrets" / "pseudonym.key").stat().st_mode & 0o077 == 0
    for clinic in (first, again):
        clinic.close()


def test_invalid_settings_name_their_file(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diagnosis.yaml").write_text("suggestion: never\n")
    with pytest.raises(ValueError, match=r"diagnosis\.yaml: suggestion must be one of"):
        DiagnosisDirectory(tmp_path).clinic(bundle_folder)


def files(home: DiagnosisDirectory) -> list[Path]:
    return [path for path in (home.folder / "diagnosis" / "images").rglob("*") if path.is_file()]


def test_a_backup_is_restored_into_an_empty_folder(bundle_folder: Path, tmp_path: Path, photographs) -> None:
    home, other = DiagnosisDirectory(tmp_path / "one"), DiagnosisDirectory(tmp_path / "other")
    with closing(home.clinic(bundle_folder)) as clinic:
        stored = clinic.receive(photographs.submitted(patient="XZ-4711"))
        clinic.store.backup(tmp_path / "backup.zip")
        clinic.identified.backup(tmp_path / "people.zip")
    assert b"XZ-4711" not in (tmp_path / "backup.zip").read_bytes()
    other.restore(tmp_path / "backup.zip")
    other.restore_identified(tmp_path / "people.zip")
    with closing(other.clinic(bundle_folder)) as restored:
        assert restored.store.study(stored.study.id).images == stored.images
        assert (restored.store.folder / stored.images[0].path).exists()
        assert restored.identified.identity(stored.study.patient).number == "XZ-4711"


def test_old_studies_are_deleted_with_their_patients(bundle_folder: Path, tmp_path: Path, photographs) -> None:
    home = DiagnosisDirectory(tmp_path)
    with closing(home.clinic(bundle_folder)) as clinic:
        patient = clinic.receive(photographs.submitted(patient="4711")).study.patient
    assert home.forget(days=1) == 0
    assert home.forget(days=0) == 1
    assert files(home) == []
    with closing(home.identified()) as identified:
        assert identified.identity(patient) is None


@pytest.mark.slow
def test_a_serving_page_deletes_old_studies(bundle_folder: Path, tmp_path: Path, photographs) -> None:
    (tmp_path / "diagnosis.yaml").write_text("keep_days: 2\n")
    home = DiagnosisDirectory(tmp_path)
    with closing(home.clinic(bundle_folder)) as clinic:
        new = clinic.receive(photographs.submitted("new")).study.id
        clinic.store._clock = lambda: datetime.now(UTC) - timedelta(days=3)
        clinic.receive(photographs.submitted("old"))
    with home.forgetting():
        pass
    with closing(home.store()) as store:
        assert [entry.id for entry in store.worklist()] == [new]
    assert len(files(home)) == 6, "two photographs, their maps and sentences"


def test_without_a_model_the_error_says_how_to_adopt_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"--bundle must be given.*python -m sites adopt"):
        DiagnosisDirectory(tmp_path).clinic(None)


def test_only_a_batch_that_allows_it_uses_the_demonstration_without_a_model(
    demonstration_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(demonstration_folder, DEMONSTRATION)
    assert DiagnosisDirectory(tmp_path).bundle(None, or_demonstration=True).manifest.demonstration
    with pytest.raises(ValueError, match="--bundle must be given"):
        DiagnosisDirectory(tmp_path).bundle(None)
