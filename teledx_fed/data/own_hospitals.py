"""Read a researcher's file of hospitals (YAML): the layout and folder of each, and the meaning of its words."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from teledx_fed.config.data import HospitalSettings, SourceSettings
from teledx_fed.core.checks import must, one_of
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.data.cameras import CAMERAS
from teledx_fed.data.folder_layouts import pattern_of
from teledx_fed.data.layouts import layout_names
from teledx_fed.data.problems import BadData, Problem

DRAWN = "drawn"
"""The layout of a synthetic hospital."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
GUIDE = "The format is in docs/researcher.md, Your own hospitals."

HospitalDescription = SourceSettings | HospitalSettings


@dataclass(frozen=True)
class OwnHospitals:
    """Hospitals by name, either on disk or synthetic."""

    sources: Mapping[str, SourceSettings] = field(default_factory=dict)
    drawn: Mapping[str, HospitalSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class _Value:
    """A value in the file, as text, list or mapping, with its dotted name and its line."""

    name: str
    line: int
    content: Any

    def must(self, condition: bool, requirement: str, remedy: str) -> None:
        must(condition, self.name, requirement, self._shown, remedy)

    @property
    def text(self) -> str:
        self.must(isinstance(self.content, str), "be one word or path", "Correct it.")
        return str(self.content)

    @property
    def items(self) -> Mapping[str, "_Value"]:
        self.must(isinstance(self.content, dict) or not self.content, "map words to their meanings", GUIDE)
        return dict(self.content or {})

    @property
    def whole(self) -> int:
        self.must(re.fullmatch("[0-9]{1,9}", self.text) is not None, "be a whole number", "Write digits.")
        return int(self.text)

    @property
    def numbers(self) -> list[float]:
        self.must(isinstance(self.content, list), "be a list of numbers", GUIDE)
        try:
            return [float(value.text) for value in self.content]
        except ValueError as error:
            raise ConfigurationError(f"{self.name} must be a list of numbers: {error}. {GUIDE}") from error

    def choice(self, *choices: str) -> str:
        one_of(self.name, self.text, choices)
        return self.text

    @property
    def _shown(self) -> object:
        return self.content if isinstance(self.content, str) else f"a {type(self.content).__name__}"


def load(path: Path) -> OwnHospitals:
    """Read every hospital of the file. Raise `BadData` with all problems in it, by line.

    Words stay text: `no`, `00` and `1.0` too. A `root` is relative to the file.
    """
    reader = _Reader(path)
    hospitals = {name: reader.hospital(value) for name, value in _read(path).items.items()}
    kinds = {type(hospital) for hospital in hospitals.values() if hospital is not None}
    if len(kinds) > 1:
        reader.problems.append(
            Problem(str(path), "all hospitals must be synthetic, or none, got some of each.", skippable=False)
        )
    if reader.problems:
        raise BadData(reader.problems)
    return OwnHospitals(
        {name: hospital for name, hospital in hospitals.items() if isinstance(hospital, SourceSettings)},
        {name: hospital for name, hospital in hospitals.items() if isinstance(hospital, HospitalSettings)},
    )


def _read(path: Path) -> _Value:
    try:
        top = _value("hospitals", yaml.compose(path.read_text("utf-8"), Loader=yaml.BaseLoader))
    except FileNotFoundError as error:
        raise ConfigurationError(f"hospitals must be a file, got {path}, which does not exist. {GUIDE}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"{path} must be a YAML file, got one that cannot be read: {reason}. Correct it."
        ) from error
    if not isinstance(top.content, dict) or not top.content:
        raise ConfigurationError(f"{path} must describe each hospital under its name, got none. {GUIDE}")
    return top


def _value(name: str, node: yaml.Node | None) -> _Value:
    """Convert a YAML node. Raise a `YAMLError` where a mapping has a word twice."""
    if node is None:
        return _Value(name, 1, "")
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return _Value(name, line, [_value(name, item) for item in node.value])
    if not isinstance(node, yaml.MappingNode):
        return _Value(name, line, node.value)
    values: dict[str, _Value] = {}
    for key, value in node.value:
        word = str(key.value)
        if word in values:
            raise yaml.YAMLError(f"{word} occurs twice, the second time in line {key.start_mark.line + 1}")
        values[word] = _value(word if name == "hospitals" else f"{name}.{word}", value)
    return _Value(name, line, values)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.problems: list[Problem] = []
        self._path = path
        self._source: Mapping[str, Callable[[_Value], Any]] = {
            "layout": lambda value: value.choice(*layout_names(), DRAWN),
            "root": self._root,
            "grading": lambda value: {word: grade.whole for word, grade in value.items.items()},
            "oedema": lambda value: {word: meaning.text for word, meaning in value.items.items()},
            "file_pattern": lambda value: pattern_of(value.text).pattern,
        }
        self._drawn: Mapping[str, Callable[[_Value], Any]] = {
            "patients": lambda value: value.whole,
            "camera": lambda value: value.choice(*CAMERAS),
            "prevalence": lambda value: value.numbers,
        }

    def hospital(self, value: _Value) -> HospitalDescription | None:
        """Convert a hospital; None where it has a problem."""
        before = len(self.problems)
        has_name = NAME.fullmatch(value.name) is not None
        self._check(value, has_name, "be a name of letters, digits, dots, dashes and underscores")
        self._check(value, isinstance(value.content, dict), "be described by its layout and root")
        described = value.content if isinstance(value.content, dict) else {}
        is_synthetic = "layout" in described and described["layout"].content == DRAWN
        synthetic = {"layout": self._source["layout"], **self._drawn}
        values = self._values(described, synthetic if is_synthetic else self._source)
        for key in () if is_synthetic else ("layout", "root"):
            self._check(value, not described or key in described, f"have a {key}")
        if len(self.problems) > before:
            return None
        try:
            if not is_synthetic:
                return SourceSettings(**values)
            return HospitalSettings(**{key: values[key] for key in self._drawn if key in values})
        except ConfigurationError as error:
            self._add(value, f"{value.name}: {error}")
            return None

    def _values(
        self, described: Mapping[str, _Value], readers: Mapping[str, Callable[[_Value], Any]]
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in described.items():
            try:
                one_of(value.name, key, readers)
                values[key] = readers[key](value)
            except ConfigurationError as error:
                self._add(value, str(error))
        return values

    def _root(self, value: _Value) -> str:
        root = self._path.parent / Path(value.text).expanduser()
        value.must(
            bool(value.text) and root.exists(), "be an existing folder", f"Correct the path: {root} does not exist."
        )
        return str(root)

    def _check(self, value: _Value, condition: bool, requirement: str) -> None:
        try:
            value.must(condition, requirement, GUIDE)
        except ConfigurationError as error:
            self._add(value, str(error))

    def _add(self, value: _Value, message: str) -> None:
        self.problems.append(Problem(str(self._path), message, value.line, skippable=False))
