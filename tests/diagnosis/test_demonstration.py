"""What `make demo` lays out can be looked at, and never signed."""

import shutil
from pathlib import Path

import pytest

from teledx_fed.diagnosis.demonstration import PATIENTS, lay_out
from teledx_fed.diagnosis.home import DiagnosisHome


def test_it_has_studies_of_drawn_patients_under_a_demonstration_bundle(
    demonstration_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(demonstration_folder, tmp_path / "run" / "bundles" / "north")
    home = DiagnosisHome(tmp_path / "hospital")
    lay_out(home, tmp_path / "run")
    clinic = home.clinic(None)
    assert len(clinic.store.worklist()) == PATIENTS
    (suggestion,) = clinic.store.suggestions(clinic.store.worklist()[0].id)
    assert suggestion.diagnosis.demonstration
    clinic.store.close()
    with pytest.raises(ValueError, match="must be new"):
        lay_out(home, tmp_path / "run")


def test_a_run_without_bundles_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a run folder with bundles"):
        lay_out(DiagnosisHome(tmp_path / "hospital"), tmp_path / "run")


def test_the_key_of_pseudonyms_is_made_once_and_for_its_owner_alone(bundle_folder: Path, tmp_path: Path) -> None:
    home = DiagnosisHome(tmp_path)
    first, again = (home.clinic(bundle_folder) for _ in range(2))
    assert first.pseudonym_of("7") == again.pseudonym_of("7") != "7"
    assert (tmp_path / "secrets" / "pseudonym.key").stat().st_mode & 0o077 == 0
    for clinic in (first, again):
        clinic.store.close()


def test_settings_that_make_no_sense_name_their_file(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "diagnosis.yaml").write_text("suggestion: never\n")
    with pytest.raises(ValueError, match=r"diagnosis\.yaml: suggestion must be one of"):
        DiagnosisHome(tmp_path).clinic(bundle_folder)


def test_a_backup_is_restored_into_an_empty_folder_and_what_is_old_is_forgotten(
    bundle_folder: Path, tmp_path: Path, photographs
) -> None:
    home, other = DiagnosisHome(tmp_path / "one"), DiagnosisHome(tmp_path / "other")
    clinic = home.clinic(bundle_folder)
    study = clinic.receive(photographs.submitted()).study.id
    clinic.store.backup(tmp_path / "backup.zip")
    clinic.store.close()
    other.restore(tmp_path / "backup.zip")
    restored = other.clinic(bundle_folder)
    assert restored.store.study(study).images == home.store().study(study).images
    assert (restored.store.folder / restored.store.study(study).images[0].path).exists()
    restored.store.close()
    assert home.forget(days=1) == 0
    assert home.forget(days=0) == 1
    assert [path for path in (tmp_path / "one" / "diagnosis" / "images").rglob("*") if path.is_file()] == []
