"""Batch diagnosis: a row for each photograph, and a bad file does not stop the batch."""

import csv
import errno
import json
import os
import re
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from reporters import RecordingReporter
from typer.testing import CliRunner

from sites.diagnosis import app
from teledx_fed.core.clinical import SUGGESTION
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.diagnosis.batch import identities, run
from teledx_fed.diagnosis.diagnose import diagnose, open_bundle
from teledx_fed.diagnosis.intake import StudyUpload
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.study_files import study_uploads

CANARY = "canary-jane-doe"


@pytest.fixture
def folder(tmp_path: Path, photographs) -> Path:
    """A single photograph, a text file, and a patient with two eyes, of which one file cannot be read."""
    root = tmp_path / "photographs"
    (root / CANARY).mkdir(parents=True)
    (root / "alone.png").write_bytes(photographs.left)
    (root / "notes.txt").write_text("no photograph")
    (root / CANARY / f"{CANARY}_right.png").write_bytes(photographs.right)
    (root / CANARY / f"{CANARY}_left.png").write_bytes(photographs.left[:500])
    return root


def results(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open() as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_a_batch_has_a_row_for_each_file_and_three_files_for_each_study(
    folder: Path, tmp_path: Path, bundle_folder: Path
) -> None:
    out, reporter = tmp_path / "out", RecordingReporter()
    bundle = open_bundle(bundle_folder, 1)
    failed = run(study_uploads([folder]), bundle, ReferralSettings(), out, reporter)
    rows = results(out)
    assert failed == 2
    assert reporter.counts[-1] == (3, 3)
    assert set(rows) == {"alone.png", "notes.txt", f"{CANARY}_right.png", f"{CANARY}_left.png"}
    assert "must be a JPEG" in rows["notes.txt"]["error"]
    assert "must be whole" in rows[f"{CANARY}_left.png"]["error"]
    right = rows[f"{CANARY}_right.png"]
    assert (right["eye"], right["error"]) == ("right", "")
    assert right["patient_action"] != "rescreen"
    assert "eye_missing" in right["reasons"]
    studies = {row["study"] for row in rows.values() if not row["error"]}
    assert {path.name for path in out.iterdir()} == {"results.csv"} | {
        f"{study}{suffix}" for study in studies for suffix in (".json", ".fhir.json", ".pdf")
    }
    for study in studies:
        diagnosis = json.loads((out / f"{study}.json").read_text())
        assert diagnosis["note"] == SUGGESTION
        assert diagnosis["model"] == bundle.digest
        for page in PdfReader(out / f"{study}.pdf").pages:
            assert SUGGESTION in page.extract_text()
        for suffix in (".json", ".fhir.json", ".pdf"):
            assert CANARY.encode() not in (out / f"{study}{suffix}").read_bytes()
    with pytest.raises(ValueError, match="--out must be a new folder"):
        run([], bundle, ReferralSettings(), out)


def batch(out: Path, bundle_folder: Path, *paths: Path, reporter: Reporter = SILENT) -> list[dict[str, str]]:
    run(study_uploads(paths), open_bundle(bundle_folder, 1), ReferralSettings(), out, reporter)
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_an_unclear_eye_is_unknown_and_every_output_states_why(
    tmp_path: Path, bundle_folder: Path, photographs
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "left_Smith_R.png").write_bytes(photographs.left)
    (one,) = batch(tmp_path / "out", bundle_folder, folder)
    assert one["eye"] == "unknown"
    assert "eye_name_unclear" in one["reasons"].split()
    diagnosis = json.loads((tmp_path / "out" / f"{one['study']}.json").read_text())
    assert diagnosis["eyes"][0]["reasons"][0] == "eye_name_unclear"
    for written in (tmp_path / "out" / f"{one['study']}.fhir.json", tmp_path / "out" / f"{one['study']}.pdf"):
        pages = PdfReader(written).pages if written.suffix == ".pdf" else ()
        text = "".join(page.extract_text() for page in pages) or written.read_text()
        assert "may mean an eye, a grade or an initial" in " ".join(text.split())


def test_a_stated_eye_is_used_and_a_contradicting_file_name_is_reported(
    tmp_path: Path, bundle_folder: Path, photographs
) -> None:
    (tmp_path / "12_OD.png").write_bytes(photographs.left)
    table = tmp_path / "t.csv"
    table.write_text("file,study,eye\n12_OD.png,A,left\n")
    (one,) = batch(tmp_path / "out", bundle_folder, table)
    assert one["eye"] == "left"
    assert "eye_name_other" in one["reasons"].split()
    assert one["certainty"] != "confident"


def test_a_photograph_of_too_many_pixels_has_a_row_with_the_limit(tmp_path: Path, bundle_folder: Path) -> None:
    pixels = zlib.compress(bytes(9440 * (1 + 9440 // 8)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 9440, 9440, 1, 0, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert (tmp_path / "bomb.png").stat().st_size < 20_000
    (one,) = batch(tmp_path / "out", bundle_folder, tmp_path / "bomb.png")
    assert "bomb.png must be at most 50000000 pixels, got 9440 × 9440. Scale it down" in one["error"]


def test_a_study_with_an_unexpected_error_has_a_reference_and_the_others_are_diagnosed(
    tmp_path: Path, bundle_folder: Path, photographs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (("one.png", photographs.left), ("two.png", photographs.right)):
        (tmp_path / name).write_bytes(content)

    def fail_once(*arguments: object) -> object:
        monkeypatch.setattr("teledx_fed.diagnosis.batch.diagnose", diagnose)
        raise ValueError(CANARY)

    monkeypatch.setattr("teledx_fed.diagnosis.batch.diagnose", fail_once)
    first, second = batch(tmp_path / "out", bundle_folder, tmp_path / "one.png", tmp_path / "two.png")
    assert re.match(r"unexpected error, reference \w+\. Report it", first["error"])
    assert CANARY in (tmp_path / "out" / "errors.log").read_text()
    assert not second["error"]


def test_one_photograph_under_two_studies_keeps_both_reports_and_says_so(
    tmp_path: Path, bundle_folder: Path, photographs
) -> None:
    (tmp_path / "a.png").write_bytes(photographs.left)
    (tmp_path / "b.png").write_bytes(photographs.left)
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("file,study,eye,age,pregnant\na.png,A,left,55,no\nb.png,B,right,31,yes\n")
    reporter = RecordingReporter()
    rows = batch(out, bundle_folder, table, reporter=reporter)
    assert [(Path(one["file"]).name, one["eye"]) for one in rows] == [("a.png", "left"), ("b.png", "right")]
    assert len({one["study"] for one in rows}) == 2
    for one, other in (rows, reversed(rows)):
        assert one["collision"] == f"the same photograph as file 1 of study {other['study']}"
        assert "photograph_shared" in one["reasons"].split()
        assert one["action"] in ("human_read", "retake", "refer", "urgent")
        diagnosis = json.loads((out / f"{one['study']}.json").read_text())
        assert ("pregnancy" in diagnosis["reasons"]) == one["file"].endswith("b.png")
        assert (out / f"{one['study']}.pdf").exists()
    assert [line.removeprefix(str(tmp_path)) for line in reporter.messages] == [
        f"/a.png of study A: the same photograph as {tmp_path}/b.png of study B",
        f"/b.png of study B: the same photograph as {tmp_path}/a.png of study A",
    ]


def test_studies_of_one_name_and_repeated_files_are_reported(tmp_path: Path, bundle_folder: Path, photographs) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left.png").write_bytes(photographs.left if name == "first" else photographs.right)
        (tmp_path / name / "t.csv").write_text("file,study\nleft.png,7\n")
    tables = [tmp_path / name / "t.csv" for name in ("first", "second", "first")]
    rows = batch(tmp_path / "out", bundle_folder, *tables)
    assert len({one["study"] for one in rows}) == 3
    assert all("a study of the same name" in one["collision"] for one in rows)
    twice = tmp_path / "twice.csv"
    twice.write_text("file,study\nfirst/left.png,7\nfirst/left.png,7\n")
    rows = batch(tmp_path / "again", bundle_folder, twice)
    assert all("the same photograph" in one["collision"] for one in rows)
    assert len(list((tmp_path / "again").glob("*.pdf"))) == 1


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.sampled_from(["", "A", "a", "B"])] * 3), max_size=8), st.binary(min_size=16))
def test_no_two_submissions_have_one_identity(named: list[tuple[str, str, str]], key: bytes) -> None:
    sent = [StudyUpload(name, origin, (), patient) for name, origin, patient in named]
    ids = identities(sent, key)
    assert len(set(ids)) == len(ids)
    assert ids == identities(sent, key)


def test_a_file_of_a_table_that_cannot_be_read_has_a_row_and_the_others_are_diagnosed(
    tmp_path: Path, bundle_folder: Path, photographs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file, a name too long for the disk, a folder, an empty name, a pipe, and a file without permission."""
    (tmp_path / "good.png").write_bytes(photographs.left)
    (tmp_path / "closed.png").write_bytes(photographs.left)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    bad = ["missing.png", "x" * 300, "folder", "", "pipe", "closed.png"]
    table, reporter = tmp_path / "t.csv", RecordingReporter()
    table.write_text("file,study\n" + "".join(f"{name},{at}\n" for at, name in enumerate([*bad, "good.png"])))
    path_open = Path.open

    def refusing(path: Path, *how: object, **named: object) -> object:
        if path.name == "closed.png":  # tests may run as root, who can read any file
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return path_open(path, *how, **named)

    monkeypatch.setattr(Path, "open", refusing)
    studies = study_uploads([table])
    failed = run(studies, open_bundle(bundle_folder, 1), ReferralSettings(), tmp_path / "out", reporter)
    monkeypatch.undo()
    with (tmp_path / "out" / "results.csv").open() as file:
        *refused, good = csv.DictReader(file)
    assert (good["error"], good["eye"], good["row"], failed) == ("", "unknown", "8", 6)
    reasons = ["No such file", "File name too long", "a folder", "a folder", "a device", "Permission denied"]
    for number, (one, reason, line) in enumerate(zip(refused, reasons, reporter.messages, strict=True), 2):
        assert (one["row"], reason in one["error"]) == (str(number), True)
        assert line == one["error"]
        assert line.startswith(one["file"])


def test_each_result_has_the_number_of_its_row_but_not_its_words(
    tmp_path: Path, bundle_folder: Path, photographs
) -> None:
    for name, content in (("a.png", photographs.left), ("b.png", photographs.right), ("torn.png", b"no photograph")):
        (tmp_path / name).write_bytes(content)
    table = tmp_path / "t.csv"
    table.write_text(f"file,study,eye\na.png,{CANARY},left\na.png,8,left\n\ntorn.png,{CANARY},\nb.png,{CANARY},right\n")
    rows = batch(tmp_path / "out", bundle_folder, table, tmp_path / "a.png")
    joined = {one["row"]: (Path(one["file"]).name, one["eye"]) for one in rows}
    assert joined == {
        "2": ("a.png", "left"),
        "3": ("a.png", "left"),
        "5": ("torn.png", ""),
        "6": ("b.png", "right"),
        "": ("a.png", "unknown"),
    }
    studies = {one["row"]: one["study"] for one in rows}
    assert studies["2"] == studies["5"] == studies["6"] != studies["3"]
    assert CANARY not in (tmp_path / "out" / "results.csv").read_text()


def test_the_command_names_unreadable_files_and_ends_with_1(
    folder: Path, tmp_path: Path, bundle_folder: Path, photographs
) -> None:
    (tmp_path / "site").mkdir()
    command = ["diagnose", "--dir", str(tmp_path / "site"), "--bundle", str(bundle_folder)]
    failed = CliRunner().invoke(app, [*command, str(folder), "--out", str(tmp_path / "out")])
    assert failed.exit_code == 1
    for name, row in results(tmp_path / "out").items():
        assert (name in failed.stderr) == bool(row["error"])
        assert row["error"] in failed.stderr
    (tmp_path / "good.png").write_bytes(photographs.left)
    good = [*command, str(tmp_path / "good.png"), "--out", str(tmp_path / "good")]
    assert CliRunner().invoke(app, good).exit_code == 0
    wrong = CliRunner().invoke(app, [*good, "--eye", "rechts"])
    assert (wrong.exit_code, "--eye must be one of left, right, unknown, got 'rechts'" in wrong.output) == (1, True)
