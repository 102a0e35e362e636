"""A file of hospitals is read unchanged, and each problem in it is reported by line."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from teledx_fed.config.data import HospitalSettings, SourceSettings
from teledx_fed.data.layouts import LAYOUTS, read
from teledx_fed.data.own_hospitals import load
from teledx_fed.data.problems import BadData


def described(folder: Path, text: str) -> Path:
    file = folder / "hospitals.yaml"
    file.write_text(text, "utf-8")
    return file


def test_words_are_text_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "eyes").mkdir()
    words = ["no", "yes", "00", "01", "1.0", "~", "0x1F", "R0", "on", "1e3", "sévère", "a b"]
    grading = ", ".join(f"{word}: {number % 5}" for number, word in enumerate(words))
    pattern = r"(?P<patient>\d+)_(?P<eye>left|right)"
    meanings = "oedema: {0: no, centre: yes, '?': unknown}"
    text = f"north:\n  layout: folder\n  root: eyes\n  grading: {{{grading}}}\n  {meanings}\n"
    hospitals = load(described(tmp_path, f"{text}  file_pattern: '{pattern}'\n"))
    grades = {word: number % 5 for number, word in enumerate(words)}
    oedema = {"0": "no", "centre": "yes", "?": "unknown"}
    assert hospitals.drawn == {}
    assert hospitals.sources == {"north": SourceSettings("folder", str(tmp_path / "eyes"), grades, oedema, pattern)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_can_be_described(tmp_path: Path, layout: str) -> None:
    assert load(described(tmp_path, f"a: {{layout: {layout}, root: .}}")).sources["a"].layout == layout


def test_hospitals_can_be_synthetic(tmp_path: Path) -> None:
    hospitals = load(
        described(tmp_path, "a: {layout: drawn, patients: 30, camera: zeiss, prevalence: [1, 0, 0, 0, 0]}\n")
    )
    assert hospitals.drawn == {"a": HospitalSettings(30, "zeiss", [1.0, 0.0, 0.0, 0.0, 0.0])}


def test_all_problems_are_reported_at_once_by_line(tmp_path: Path) -> None:
    text = """\
a: {layout: fodler, root: .}
b: {layout: folder, root: absent}
c: {layout: folder, root: ., grading: {R0: none}, oedma: {a: b}}
d: {layout: folder, root: ., grading: {R0: 7}}
e: {layout: folder, root: ., file_pattern: '(?P<eye>left)'}
f: {root: .}
g: nothing
"h/i": {layout: folder, root: .}
j: {layout: folder, root: ., oedema: {a: maybe}}
k: {layout: drawn, patients: many, camera: zeiss, prevalence: 3}
"""
    with pytest.raises(BadData) as error:
        load(described(tmp_path, text))
    assert [(problem.row, problem.message.split(",")[0].split(" one of")[0]) for problem in error.value.problems] == [
        (1, "a.layout must be"),
        (2, "b.root must be an existing folder"),
        (3, "c.grading.R0 must be a whole number"),
        (3, "c.oedma must be"),
        (4, "d: grading.R0 must be an ICDR grade 0 to 4"),
        (5, "file_pattern must hold a group named patient"),
        (6, "f must have a layout"),
        (7, "g must be described by its layout and root"),
        (8, "h/i must be a name of letters"),
        (9, "j: oedema.a must be"),
        (10, "k.patients must be a whole number"),
        (10, "k.prevalence must be a list of numbers"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must describe each hospital under its name"),
        ("- a\n- b\n", "must describe each hospital under its name"),
        ("a: {layout: folder, root: .}\na: {layout: folder, root: .}\n", "a occurs twice, the second time in line 2"),
        ("a: {layout: folder, root: ., grading: {R0: 0, R0: 1}}\n", "R0 occurs twice"),
        ("a: {layout: [", "must be a YAML file"),
        ("a: {layout: folder, root: .}\nb: {layout: drawn}\n", "all hospitals must be synthetic, or none"),
    ],
)
def test_a_file_without_descriptions_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        load(described(tmp_path, text))


RECOMMENDED = re.compile(r"write ((?:grading|oedema|file_pattern): (?:\{.*?\}|'.*?'))")


@pytest.mark.parametrize("word", ["odd", "no", "00", "R0: x", "sévère", '"', "a, b", "[", "#"])
@pytest.mark.parametrize("layout", ["aptos2019", "table", "folder"])
def test_the_form_that_a_message_recommends_works(tmp_path: Path, layout: str, word: str) -> None:
    root = tmp_path / "eyes"
    table, folder = {"aptos2019": ("train.csv", "train_images"), "table": ("grades.csv", ".")}.get(layout, ("", word))
    (root / folder).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / folder / "12_left.jpg")
    if table:
        columns = {"aptos2019": ["id_code", "diagnosis"], "table": ["file", "grade", "oedema"]}[layout]
        with (root / table).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, ["12_left.jpg", word, word][: len(columns)]])
    written = [f"layout: {layout}", f"root: {root}"]
    for _ in range(3):
        source = load(described(tmp_path, "\n".join(["a:", *(f"  {line}" for line in written)]))).sources["a"]
        collection, problems = read("a", source)
        if not problems:
            break
        written += [form.replace("GRADE", "3").replace("WORD", "yes") for form in RECOMMENDED.findall(str(problems[0]))]
    assert [example.grade for example in collection.examples] == [3]


@pytest.mark.parametrize("pattern", ["(", "left"])
def test_the_pattern_that_a_message_recommends_works(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "0").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "0" / "12_left.jpg")
    with pytest.raises(BadData) as error:
        load(described(tmp_path, f"a: {{layout: folder, root: ., file_pattern: '{pattern}'}}"))
    form = RECOMMENDED.findall(str(error.value))[0]
    source = load(described(tmp_path, f"a:\n  layout: folder\n  root: 0/..\n  {form}\n")).sources["a"]
    collection, problems = read("a", source)
    assert ([example.patient for example in collection.examples], problems) == (["12"], ())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hospitals must be a file"):
        load(tmp_path / "absent.yaml")
