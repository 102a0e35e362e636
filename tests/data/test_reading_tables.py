"""Every row of a table is taken unchanged, or refused by its number."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from teledx_fed.config.data import SourceSettings
from teledx_fed.data.layouts import read
from teledx_fed.data.tables import Table, read_table

COLUMNS = ("image", "grade", "note")


def photographs(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (8, 8), "brown").save(folder / name)


def written(folder: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return file


def cells(table: Table) -> list[list[str]]:
    assert table.problems == ()
    return [[row[column] for column in COLUMNS] for row in table.rows]


def refusal(folder: Path, content: str | bytes) -> str:
    table = read_table(written(folder, content), *COLUMNS)
    assert table.rows == ()
    return str(table.problems[0]).removeprefix(str(folder / "table.csv"))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters_are_found(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = [list(COLUMNS), ["Müller_1.png", "2", "naïve; a, b\tc|d"], ["José", "0", ""]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    assert cells(read_table(written(tmp_path, text.getvalue(), encoding), *COLUMNS)) == rows[1:]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_that_excel_declares(tmp_path: Path, first: str, end: str) -> None:
    table = read_table(written(tmp_path, end.join([first, "image;grade;note", "a;1;b,c", ""])), *COLUMNS)
    assert cells(table) == [["a", "1", "b,c"]]
    assert table.rows[0].number == 3


def test_names_are_compared_in_one_normal_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "José_Müller") for form in ("NFC", "NFD"))
    for form, other in ((composed, decomposed), (decomposed, composed)):
        root = tmp_path / str(len(form))
        photographs(root / "train_images", f"{other}.png")
        (root / "train.csv").write_text(f"id_code,diagnosis\n{form},2\n", "utf-8")
        collection, problems = read("ward", SourceSettings("aptos2019", str(root)))
        assert (len(collection.examples), problems) == (1, ())


def test_an_unclosed_quote_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [f'eye{number},{number % 5},"{"open" if number == 30 else "a note"}"' for number in range(80)]
    rows[30] = rows[30].removesuffix('"')
    assert refusal(tmp_path, "\n".join(["image,grade,note", *rows])).startswith(", row 32: must ")
    rows[31:] = [f"eye{number},0,plain" for number in range(31, 80)]
    assert refusal(tmp_path, "\n".join(["image,grade,note", *rows])).startswith(", row 32: must ")


def test_two_unclosed_quotes_do_not_make_a_cell(tmp_path: Path) -> None:
    message = refusal(tmp_path, 'image,grade,note\na,1,"open\nb,2,fine\nc,3,"\nd,4,fine\n')
    assert message.startswith(", row 2: must end on its own line, got a quoted cell that continues to row 4")


def test_a_note_may_have_line_breaks(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, 'image,grade,note\na,1,"one\ntwo"\nb,2,""""\n'), "image", "grade")
    assert cells(table) == [["a", "1", "one\ntwo"], ["b", "2", '"']]
    assert [row.number for row in table.rows] == [2, 4]


@pytest.mark.parametrize("header", ["image,grade,note,grade", "image,grade,note, GRADE ", "image,grade,note,age,AGE"])
def test_a_repeated_column_is_refused(tmp_path: Path, header: str) -> None:
    message = refusal(tmp_path, f"{header}\na,1,x,2,3\n")
    assert "must have each column once, got " in message
    assert "again. Rename or remove" in message


def test_a_row_of_another_length_is_refused_by_itself(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "image,grade,note,,\na,1,x,,\nb,2\nc,3,y,z\nd,4,,\n"), *COLUMNS)
    assert [row["image"] for row in table.rows] == ["a", "d"]
    assert [(problem.row, problem.message.split(".")[0]) for problem in table.problems] == [
        (3, "must have 3 cells, got 2"),
        (4, "must have 3 cells, got 4"),
    ]


def test_an_index_without_a_name_is_not_a_column(tmp_path: Path) -> None:
    assert cells(read_table(written(tmp_path, ",image,grade,note\n0,a,1,\n"), *COLUMNS)) == [["a", "1", ""]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"PK\x03\x04 and so on", "must be text, got an Excel workbook. Save it as 'CSV UTF-8'."),
        (b"image,grade,note\nM\x81ller,1,\n", "got the byte 0x81 in row 2, which is neither. Save it as 'CSV UTF-8'."),
        (
            "image,grade,note\nJosé,1,\n".encode() + "José,2,\n".encode("cp1252"),
            "got UTF-8 in row 2 and another in row 3",
        ),
        ("\ufeffimage,grade,note\n".encode("utf-16-le") + b"x", "must be whole UTF-16-LE text"),
        (b"image,grade,note\na\0,1,\n", "must be "),
        ("image,level\na,1\n", "must have the column grade, note, got image, level. Rename the column."),
        ("", "must have the column image, grade, note, got an empty file"),
    ],
)
def test_a_file_that_is_not_a_table_is_reported(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, content)


def test_a_missing_file_of_an_assumed_encoding_is_reported_with_it(tmp_path: Path) -> None:
    """Excel for Mac writes in an encoding that cannot be distinguished from that of Windows."""
    photographs(tmp_path / "train_images", "José.png", "b.png")
    (tmp_path / "train.csv").write_bytes("id_code,diagnosis\nJosé,1\nb,2\nc,3\n".encode("mac_roman"))
    _, problems = read("ward", SourceSettings("aptos2019", str(tmp_path)))
    assert [problem.row for problem in problems] == [2, 4]
    assert "was read as Windows-1252: if names look wrong, save it as 'CSV UTF-8'." in str(problems[0])
    assert "Windows" not in str(problems[1])


CELL = st.text(st.sampled_from('ab,;" \n\r\té"|=sep'), max_size=6)
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b.png", "é"]), st.sampled_from("01234"), CELL), max_size=6)


@settings(max_examples=60)
@given(ROWS, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["utf-8", "utf-16", "cp1252"]))
def test_any_table_is_read_unchanged_or_refused_with_a_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str, encoding: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([COLUMNS, *rows])
    table = read_table(written(tmp_path_factory.getbasetemp(), text.getvalue(), encoding), "image", "grade")
    if table.problems:
        number = table.problems[0].row
        assert number is not None
        assert text.getvalue().splitlines()[number - 1]
    else:
        assert cells(table) == [[cell.strip(" \t") for cell in row] for row in rows]


@settings(max_examples=60)
@given(st.lists(st.text(st.sampled_from('ab1,"" \n'), max_size=9), max_size=8))
def test_no_line_is_lost(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Wherever quotes are, each line is a row, or a problem is reported."""
    text = "\n".join(["image,grade", *lines])
    table = read_table(written(tmp_path_factory.getbasetemp(), text), "image", "grade")
    full = [number for number, line in enumerate(text.split("\n"), 1) if line.replace('"', "").strip(" ,")]
    assert table.problems or [row.number for row in table.rows] == full[1:]
