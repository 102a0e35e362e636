"""Seeded mutations of bytes in any format, like those of accidents and attackers."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from numpy.random import Generator

Choice = TypeVar("Choice")
Mutator = Callable[[bytes, Generator], bytes]

EXTREMES = (*(0, 1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 257, 1023, 4096, 9460),
            *(32767, 32768, 65534, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**63, 2**64 - 1))  # fmt: skip
LONGEST_INSERTION = 4096


def one(choices: Sequence[Choice], rng: Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]


def mutated(content: bytes, rng: Generator, mutators: Sequence[Mutator], most: int = 4) -> bytes:
    """Apply one to `most` of the mutators, one after another."""
    for _ in range(rng.integers(1, most + 1)):
        content = one(mutators, rng)(content, rng)
    return content


def extreme(size: int, rng: Generator) -> bytes:
    """Return a number of `size` bytes at the limit of some field."""
    number = one(EXTREMES, rng) % 256**size
    return number.to_bytes(size, "big" if rng.random() < 0.5 else "little")


def place(content: bytes, rng: Generator) -> int:
    """Draw a position, more often near the beginning, where headers are."""
    return min(int((len(content) + 1) ** rng.random()) - 1, len(content))


def _bits_flipped(content: bytes, rng: Generator) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.integers(1, 17)):
        changed[min(place(content, rng), len(changed) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwritten(content: bytes, rng: Generator) -> bytes:
    start, number = place(content, rng), extreme(2 ** int(rng.integers(4)), rng)
    return content[:start] + number + content[start + len(number) :]


def _cut(content: bytes, rng: Generator) -> bytes:
    return content[: place(content, rng) if rng.random() < 0.3 else int(rng.integers(len(content) + 1))]


def _dropped(content: bytes, rng: Generator) -> bytes:
    start = place(content, rng)
    return content[:start] + content[start + place(content[start:], rng) :]


def _doubled(content: bytes, rng: Generator) -> bytes:
    start = place(content, rng)
    end = start + min(place(content[start:], rng), LONGEST_INSERTION)
    return content[:end] + content[start:end] * int(rng.integers(1, 9)) + content[end:]


def _inserted(content: bytes, rng: Generator) -> bytes:
    start = place(content, rng)
    what = extreme(4, rng) if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, LONGEST_INSERTION)))
    return content[:start] + what + content[start:]


def _spliced(content: bytes, rng: Generator) -> bytes:
    """Copy one part over another."""
    source, target = place(content, rng), place(content, rng)
    part = content[source : source + place(content[source:], rng)]
    return content[:target] + part + content[target + len(part) :]


def _swapped(content: bytes, rng: Generator) -> bytes:
    first, second, third = sorted(place(content, rng) for _ in range(3))
    return content[:first] + content[second:third] + content[first:second] + content[third:]


ANY: tuple[Mutator, ...] = (_bits_flipped, _overwritten, _cut, _dropped, _doubled, _inserted, _spliced, _swapped)
