"""Only one process at a time may use a folder, also after a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from teledx_fed.core.errors import RefusedError
from teledx_fed.core.files import exclusive

HOLD = """
import sys, time
from pathlib import Path
from teledx_fed.core.errors import RefusedError
from teledx_fed.core.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_error_for_a_locked_folder_names_the_other_process(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    with (
        pytest.raises(
            RefusedError, match=rf"must be free, got one in use by process {holder.pid} on \S+ since \d{{4}}-"
        ),
        exclusive(tmp_path / ".lock"),
    ):
        pass
    assert f"process {holder.pid}" in (tmp_path / ".lock").read_text()  # a third process also reads the holder


def test_the_lock_of_a_killed_process_is_free(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with exclusive(tmp_path / ".lock"):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_two_paths_has_one_lock(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    link = tmp_path.with_name(f"{tmp_path.name}-link")
    link.symlink_to(tmp_path)
    with pytest.raises(RefusedError, match="must be free"), exclusive(link / ".lock"):
        pass


@pytest.mark.slow
def test_only_one_of_many_processes_gets_the_lock(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = """
import sys, time
from pathlib import Path
from teledx_fed.core.errors import RefusedError
from teledx_fed.core.files import exclusive
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
held = 0
while held < 100:
    try:
        with exclusive(lock):
            before = int(count.read_text() or 0) if count.exists() else 0
            count.write_text(str(before + 1))
            held += 1
    except RefusedError:
        time.sleep(0.0005)
"""
    command = [sys.executable, "-c", program, str(tmp_path / ".lock"), str(count)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert int(count.read_text()) == 300  # no count is lost: two processes were never inside at once
