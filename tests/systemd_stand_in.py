"""systemctl where no systemd runs: runs and restarts a unit's process, confined as far as possible without systemd.

The unit sets file systems that are read-only except ReadWritePaths, a private /tmp, no capabilities or new privileges,
umask, limits and the filter of system calls. Memory and tasks are not limited, and the user is root.
"""

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
SIZES = {"K": 2**10, "M": 2**20, "G": 2**30}
LIMITS = {"LimitFSIZE": resource.RLIMIT_FSIZE, "LimitCORE": resource.RLIMIT_CORE}
LEFT_OPEN = ("/dev", "/proc", "/sys")
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38


def settings(name: str) -> dict[str, str]:
    lines = (UNITS / f"{name}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def start(name: str, journal: Path) -> None:
    assert (UNITS / f"{name}.service").exists(), f"Unit {name}.service not found."
    journal.mkdir(exist_ok=True)
    with (journal / f"{name}.log").open("ab") as log:
        command = [sys.executable, __file__, str(journal), "supervise", name]
        keeper = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    (journal / f"{name}.pid").write_text(str(keeper.pid))


def stop(name: str, journal: Path) -> None:
    file = journal / f"{name}.pid"
    if not file.exists():
        return
    keeper = int(file.read_text())
    os.kill(keeper, signal.SIGTERM)
    while Path(f"/proc/{keeper}/exe").exists():
        time.sleep(0.1)
    file.unlink()


def supervise(name: str) -> None:
    unit, stopping = settings(name), False
    assert unit["Restart"] == "always"

    def end(*_: object) -> None:
        nonlocal stopping
        stopping = True
        child.terminate()

    signal.signal(signal.SIGTERM, end)
    while not stopping:
        child = subprocess.Popen(["unshare", "--mount", sys.executable, __file__, "-", "confined", name])
        if stopping:
            child.terminate()  # the signal arrived for the previous process
        child.wait()
        until = time.monotonic() + float(unit["RestartSec"])
        while not stopping and time.monotonic() < until:
            time.sleep(0.1)


def confined(name: str) -> None:
    unit = settings(name)
    allowed = _system_calls(unit["SystemCallFilter"])
    _close_file_systems(unit["ReadWritePaths"])
    os.umask(int(unit["UMask"], 8))
    for limit, which in LIMITS.items():
        size = _bytes(unit[limit])
        resource.setrlimit(which, (size, size))
    _renounce()
    _filter(allowed)
    os.environ.update([unit["Environment"].split("=")])
    command = unit["ExecStart"].split()
    os.execv(command[0], command)


def _close_file_systems(written: str) -> None:
    mount("--bind", written, written)
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in places:
        if place != written and not place.startswith(LEFT_OPEN):
            mount("-o", "remount,bind,ro", place)
    mount("-t", "tmpfs", "tmpfs", "/tmp")


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _bytes(size: str) -> int:
    return int(size[:-1]) * SIZES[size[-1]] if size[-1] in SIZES else int(size)


def _system_calls(group: str) -> set[str]:
    process = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = [line.strip() for line in process.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    inner = [_system_calls(name) for name in names if name.startswith("@")]
    return {name for name in names if not name.startswith("@")}.union(*inner)


def _renounce() -> None:
    """Drop all capabilities, and the means to gain any: NoNewPrivileges=yes, CapabilityBoundingSet=."""
    library = ctypes.CDLL(None)
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        assert library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
    assert library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def _filter(allowed: set[str]) -> None:
    """Make all other system calls fail with EPERM, as in SystemCallErrorNumber=."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    permit, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(refuse)))
    for name in allowed:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(rules, ctypes.c_uint32(permit), number, 0) == 0, name
    assert library.seccomp_load(rules) == 0


def main(journal: str, verb: str, *rest: str) -> None:
    place, name = Path(journal), rest[-1] if rest else ""
    match verb:
        case "daemon-reload":
            pass
        case "supervise":
            supervise(name)
        case "confined":
            confined(name)
        case "enable" | "start":
            start(name, place)
        case "disable" | "stop":
            stop(name, place)
        case "restart":
            stop(name, place)
            start(name, place)


if __name__ == "__main__":
    main(*sys.argv[1:])
