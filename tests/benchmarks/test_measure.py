"""A ratio that is quoted must be the one that was measured."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as page
from benchmarks.measure import alone, alternate, machine, peak_memory, print_result

RESULT = {
    "benchmark": "scaling",
    "ratios": {"seconds": 1.25, "memory": 1.4, "bytes": 3.0},
    "bars": {"seconds": 1.3, "memory": 1.3, "bytes": 2.0},
    "ceilings": ["seconds", "memory"],
    "sides": {"512_sites_mib": 1400.0, "8_sites_mib": 1000.0},
}


def test_sides_take_turns_and_the_first_turn_is_not_counted() -> None:
    calls: list[str] = []
    medians = alternate({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=3)
    assert "".join(calls) == "ab" * 4
    assert set(medians) == {"a", "b"}


def test_medians_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1, 0, 100, 0, 3])
    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: next(clock))
    assert alternate({"only": lambda: None}, repeats=3) == {"only": 3}


def test_the_last_line_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_result("scaling", {"seconds": 1.23456}, at_most={"seconds": 1.3}, sides={"many": 2.0, "engine": "plain"})
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "benchmark": "scaling",
        "ratios": {"seconds": 1.235},
        "bars": {"seconds": 1.3},
        "ceilings": ["seconds"],
        "sides": {"many": 2.0, "engine": "plain"},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_memory_is_measured_in_a_separate_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = bytearray(200 * 2**20)
    assert peak_memory() > 200
    (tmp_path / "child.py").write_text(
        "import sys\n"
        "from benchmarks.measure import peak_memory, print_result\n"
        "block = b'x' * (int(sys.argv[1]) * 2**20)\n"
        "print('a line before')\n"
        "print_result('child', {}, sides={'mib': peak_memory()})\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    small, large = (alone("child", mib)["sides"]["mib"] for mib in (0, 100))
    assert small < len(block) / 2**20, "the memory of this process is not counted"
    assert large - small == pytest.approx(100, abs=10)


def test_a_row_shows_whether_the_bar_is_met() -> None:
    assert page.rows(RESULT) == [
        "| `scaling` | seconds | 1.25 | ≤ 1.3 | 512 sites mib 1,400, 8 sites mib 1,000 |",
        "| `scaling` | memory | **1.4**, missed | ≤ 1.3 |  |",
        "| `scaling` | bytes | 3 | ≥ 2 |  |",
    ]


def test_a_result_replaces_only_its_earlier_one() -> None:
    written = f"# Title\n\n{page.BEGIN}\n{page.END}\n\nWhat a person wrote."
    other = {**RESULT, "benchmark": "startup"}
    for result in (other, RESULT, {**RESULT, "ratios": {"seconds": 1.1}}):
        written = page.with_result(written, "a machine", result)
    assert written.startswith("# Title\n\n<!--")
    assert written.endswith("\n\nWhat a person wrote.")
    assert written.count("| `startup` |") == 3
    assert [line for line in written.splitlines() if "`scaling`" in line] == page.rows(
        {**RESULT, "ratios": {"seconds": 1.1}}
    )
    assert written.index("`scaling`") < written.index("`startup`"), "in the order of MEASUREMENTS"


def test_results_of_different_machines_do_not_mix() -> None:
    written = page.with_result(f"{page.BEGIN}{page.END}", "one machine", RESULT)
    written = page.with_result(written, "another machine", {**RESULT, "benchmark": "startup"})
    assert "scaling" not in written
    assert "On another machine." in written


def test_every_measurement_is_run_by_make_bench() -> None:
    folder = Path(page.__file__).parent
    with_main = {path.stem for path in folder.glob("[a-z]*.py") if "def main() -> None" in path.read_text()}
    assert with_main == set(page.MEASUREMENTS)


def test_the_machine_is_described_by_processor_cores_and_libraries() -> None:
    assert {part.split()[0] for part in machine().split(", ")} >= {"torch", "onnxruntime", "flwr", "numpy", "Python"}
    assert " cores, " in machine()
