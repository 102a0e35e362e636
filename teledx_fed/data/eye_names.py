"""Find the eye in a file's name, where all of its words agree, or the reason why it is unknown.

A wrong eye harms a patient and an unknown eye only needs a question, so the program does not guess. `R` may be the
right eye, a person's initial, or with a digit the grade of a screening programme (R0–R3, as in R1M0).
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from teledx_fed.core.clinical import Gap
from teledx_fed.core.examples import Eye

WORDS = {"left": Eye.LEFT, "os": Eye.LEFT, "right": Eye.RIGHT, "od": Eye.RIGHT}
LETTERS = {"l": Eye.LEFT, "r": Eye.RIGHT}
BOTH = {"ou", "both", "bilateral"}
PLAIN = {
    *("eye", "fundus", "retina", "retinal", "macula", "disc", "field"),
    *("image", "img", "photo", "picture", "scan", "dsc"),
    *("jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff", "bmp", "webp", "dcm"),
}
"""Words that are not a person's name: next to them a single letter is the eye, not an initial."""
GRADE = re.compile(r"(?<![^\W\d_])r[0-3](?!\d)", re.IGNORECASE)
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class NamedEye:
    """The eye in a name; `doubt` is the reason where the name mentions an eye that stays unknown."""

    eye: Eye = Eye.UNKNOWN
    doubt: Gap | None = None


def eye_in(name: str) -> NamedEye:
    """Return the eye in a file's name, with or without its extension."""
    plain = CAMEL.sub(" ", unicodedata.normalize("NFKC", name))
    tokens = [word.casefold() for word in re.findall(r"[^\W\d_]+", plain)]
    words, letters = ({table[token] for token in tokens if token in table} for table in (WORDS, LETTERS))
    if BOTH.intersection(tokens) or len(words) > 1:
        return NamedEye(doubt=Gap.EYE_NAME_BOTH)
    if len(words | letters) > 1:
        return NamedEye(doubt=Gap.EYE_NAME_UNCLEAR)
    if words:
        return NamedEye(words.pop())
    other_words = set(tokens) - set(LETTERS) - PLAIN
    if letters and (other_words or GRADE.search(plain)):
        return NamedEye(doubt=Gap.EYE_NAME_UNCLEAR)
    return NamedEye(letters.pop()) if letters else NamedEye()


def pairs_of_eyes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pair names of a right and a left eye that are otherwise the same, such as `12_OD.png` and `12_OS.png`."""
    eyes: dict[str, dict[Eye, str]] = defaultdict(dict)
    for name in names:
        eyes[_without_eye(name)].setdefault(eye_in(name).eye, name)
    return [(pair[Eye.RIGHT], pair[Eye.LEFT]) for pair in eyes.values() if {Eye.RIGHT, Eye.LEFT} <= pair.keys()]


def _without_eye(name: str) -> str:
    plain = CAMEL.sub(" ", unicodedata.normalize("NFKC", name)).casefold()
    return re.sub(r"[^\W\d_]+", lambda word: "" if word[0] in WORDS | LETTERS else word[0], plain)
