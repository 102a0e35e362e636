"""The coordinator's and the hospital's guide, followed exactly, each on its own machine, turn by turn."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import yaml
from machines import Machine, federation
from PIL import Image

from teledx_fed.core.randomness import generator

ROOT = Path(__file__).parents[1]
GUIDES = {name: (ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("coordinator", "hospital")}
HOST = "fl.example.org"
HOSPITALS = ("north", "south")
PATIENTS = 110
PATIENCE_SECONDS = 300.0
HANDED_OVER = {
    5: ("coordinator", "server/certificates/ca.crt", "hospital", "ca.crt"),
    6: ("coordinator", "server/plan.json", "hospital", "plan.json"),
    7: ("hospital", "site/keys/site.pub", "coordinator", "{hospital}.pub"),
    14: ("coordinator", "server/audit.jsonl", "hospital", "coordinator.jsonl"),
}
"""Files that one party sends to the other before a turn."""

MARK = re.compile(
    r"<!-- turn (?P<number>\d+)(?:, (?P<how>[^>]+?))? -->\n```(?P<language>\w+)\n(?P<block>.*?)```", re.DOTALL
)
OUTPUT = re.compile(r"\n\n```text\n(?P<lines>.*?)```", re.DOTALL)
FENCE = re.compile(r"^```(?:sh|yaml)\n", re.MULTILINE)
COMMAND = re.compile(r"python -m (?P<module>server|sites) (?P<words>[a-z][^`\n]*)")


@dataclass(frozen=True)
class Turn:
    """The next step of one party, and its expected output."""

    number: int
    party: str
    mode: str
    language: str
    block: str
    expected: tuple[str, ...]


def turns() -> list[Turn]:
    blocks = [
        Turn(
            int(match["number"]),
            party,
            match["how"] or "",
            match["language"],
            match["block"],
            _expected(text[match.end() :]),
        )
        for party, text in GUIDES.items()
        for match in MARK.finditer(text)
    ]
    return sorted(blocks, key=lambda turn: turn.number)


def _expected(after: str) -> tuple[str, ...]:
    match = OUTPUT.match(after)
    return tuple(match["lines"].splitlines()) if match else ()


def missing(expected: tuple[str, ...], output: str) -> str | None:
    """Return the first expected line that does not follow those before it, or None; `…` matches any text."""
    lines = iter(output.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        if not any(pattern.fullmatch(other.rstrip()) for other in lines):
            return line
    return None


def commands(module: str) -> dict[str, Any]:
    from importlib import import_module

    from typer.main import get_command

    return get_command(import_module(f"{module}.__main__").app).commands  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", GUIDES)
def test_each_block_has_a_turn(name: str) -> None:
    assert len(FENCE.findall(GUIDES[name])) == len(MARK.findall(GUIDES[name]))


def test_turns_follow_each_other() -> None:
    numbers = sorted({turn.number for turn in turns()})
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", [*GUIDES, "README", "docs/diagnosis"])
def test_each_command_in_a_guide_exists(name: str) -> None:
    text = GUIDES.get(name) or (ROOT / "README.md").read_text("utf-8")
    for match in COMMAND.finditer(text):
        word, *rest = match["words"].split("#")[0].split()
        available = commands(match["module"])
        assert word in available, match[0]
        command = available[word].commands[rest.pop(0)] if hasattr(available[word], "commands") else available[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {part for part in rest if part.startswith("--")} <= options, match[0]


@pytest.mark.parametrize("name", GUIDES)
def test_each_explained_message_exists_in_the_code(name: str) -> None:
    sources = [*(ROOT / "teledx_fed").rglob("*.py"), ROOT / "packaging" / "install.sh"]
    texts = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text("utf-8") for path in sources))
    table = GUIDES[name].split("| message | meaning | do |")[1].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        for message in re.findall(r"`([^`]+)`", row.split("|")[1]):
            for part in message.removeprefix("install.sh: ").removeprefix("fail ").split("…"):
                assert part.strip("() ;") in texts, message


def draw_photographs(root: Path, hospital: str) -> None:
    """Write noisy discs whose brightness depends on the grade, in the layout of EyePACS."""
    rows, columns = np.mgrid[:96, :96] - 47.5
    disc = (rows**2 + columns**2 < 46**2)[..., None]
    (root / "train").mkdir(parents=True)
    lines = ["image,level"]
    for patient in range(PATIENTS):
        for eye in ("left", "right"):
            noise = generator(0, hospital, patient, eye).integers(0, 60, (96, 96, 3))
            picture = Image.fromarray(((noise + 35 * (patient % 5)) * disc).astype(np.uint8))
            picture.save(root / "train" / f"{patient}_{eye}.jpeg", quality=95)
            lines.append(f"{patient}_{eye},{patient % 5}")
    (root / "trainLabels.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Machine]]:
    if os.geteuid() != 0:
        pytest.skip("only root can make machines of its own")
    subprocess.run(["make", "--silent", "bundle-offline"], cwd=ROOT, check=True)
    with federation(tmp_path, HOST, HOSPITALS) as made:
        for name, machine in made.items():
            machine.path("/srv/teledx").mkdir()
            machine.terminal.run(f"cd '{ROOT}'" if name == "coordinator" else "cd /srv/teledx")
        for name in HOSPITALS:
            draw_photographs(made[name].path("/srv/retina"), name)
            made[name].shows(ROOT / "dist" / "offline", "/media/teledx")
        yield made
    for machine in made.values():
        shutil.rmtree(machine.path("/srv/teledx/venv"), ignore_errors=True)


def hand_over(machines: dict[str, Machine], sender: str, file: str, receiver: str, name: str) -> None:
    for hospital in HOSPITALS:
        source, target = (
            machines[hospital if party == "hospital" else party].path("/srv/teledx") for party in (sender, receiver)
        )
        (target / name.format(hospital=hospital)).write_bytes((source / file).read_bytes())


def lend_installation(machines: dict[str, Machine]) -> None:
    """Use north's installation at south, since a third one would only take time."""
    machines["south"].shows(machines["north"].path("/srv/teledx/venv"), "/srv/teledx/venv")
    machines["south"].terminal.run(". /srv/teledx/venv/bin/activate")


def share_files(machine: Machine) -> None:
    """Hard-link the installation to the repository's environment, which has the same libraries, to save 6 GB."""
    how = ("--quiet", "--ignore-time", "--maximize", "--minimum-size=1M")
    subprocess.run(["hardlink", *how, ROOT / ".venv", machine.path("/srv/teledx/venv")], check=True)


def follow(machine: Machine, turn: Turn, name: str) -> None:
    """Follow a turn at `name`, which may differ from the name in the guide."""
    block, expected = turn.block, turn.expected
    if name not in ("coordinator", "north"):
        block, expected = block.replace("north", name), tuple(line.replace("north", name) for line in expected)
    if turn.mode.startswith("into "):
        fill_in(machine.path("/srv/teledx") / turn.mode.removeprefix("into "), yaml.safe_load(block))
        return
    patient, until = turn.mode == "until it holds", monotonic() + PATIENCE_SECONDS
    failed, output = machine.terminal.run(block, may_fail=patient)
    while patient and (failed or missing(expected, output)) and monotonic() < until:
        sleep(1)
        failed, output = machine.terminal.run(block, may_fail=True)
    assert not failed, f"{name}, turn {turn.number}: {output}"
    assert missing(expected, output) is None, (
        f"{name}, turn {turn.number}: no line {missing(expected, output)!r} in\n{output}"
    )


def is_confined(machine: Machine) -> bool:
    """Whether the worker is confined as its unit states: it writes only in its folder, without privileges."""
    process = machine.path("/srv/teledx/site/state/join.pid").read_text()
    _, output = machine.terminal.run(f"cat /proc/{process}/status /proc/{process}/mountinfo")
    mounts = {fields[4]: fields[5][:2] for line in output.splitlines() if len(fields := line.split()) > 6}
    state = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
    powers = [state[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")]
    writable = {
        place for place, how in mounts.items() if how == "rw" and not place.startswith(("/dev", "/proc", "/sys"))
    }
    return powers == ["0" * 16, "0" * 16, "1", "2"] and writable == {"/srv/teledx/site", "/tmp"}


def fill_in(file: Path, values: dict[str, Any]) -> None:
    settings = yaml.safe_load(file.read_text())
    for name, value in values.items():
        settings[name] = {**settings[name], **value} if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(settings))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_both_guides_lead_from_nothing_to_a_finished_round(machines: dict[str, Machine]) -> None:
    for turn in turns():
        if turn.number in HANDED_OVER:
            hand_over(machines, *HANDED_OVER[turn.number])
        for name in HOSPITALS if turn.party == "hospital" or turn.mode == "for each hospital" else ("coordinator",):
            if "install.sh" in turn.block and name == "south":
                lend_installation(machines)
                continue
            machine = machines[name if turn.party == "hospital" else "coordinator"]
            follow(machine, turn, name)
            if "install.sh" in turn.block:
                share_files(machine)
            if turn.party == "hospital" and "audit show" in turn.block:
                assert is_confined(machine)
    server = machines["coordinator"].path("/srv/teledx/server")
    assert (server / "runs" / "first" / "model.safetensors").stat().st_size > 0
    rounds = [yaml.safe_load(line) for line in (server / "runs" / "first" / "rounds.jsonl").read_text().splitlines()]
    assert [line["accepted"] for line in rounds[:3]] == [sorted(HOSPITALS)] * 3
