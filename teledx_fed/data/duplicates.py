"""Find duplicates: set aside exact copies, and keep near copies on one side of a split."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from teledx_fed.core.examples import Collection, Example, Images, SetAside, SetAsideReason
from teledx_fed.data.digest_cache import cached

PatientPair = tuple[str, str]
Node = TypeVar("Node", str, tuple[str, str])
"""A patient, by pseudonym or by source and pseudonym."""

FREQUENCIES = 24
"""Frequencies per axis of a hash: the usual 8 do not distinguish one fundus from another."""
BITS = FREQUENCIES**2 - 1
GREY = np.array([0.299, 0.587, 0.114])
INSIDE = 0.7
"""Side of the square that is hashed, as a share of the photograph's side."""
HASH_VERSION = 1
"""Increase it when a change of the code gives other bits for the same photograph."""

NEAR = 0.18
"""Two photographs that differ in at most this share of bits show one eye in one view. On four real hospitals this was
true of all 18 pairs below it; the nearest other pair differed in 0.205, and unrelated pairs differ in about 0.5."""

BLOCK = 512


def deduplicate(collection: Collection, images: Images) -> Collection:
    """Keep one copy of each photograph, the first by name, and none where the grades of its copies conflict.

    Patients who share a photograph, or a near copy, become one patient, under the smallest pseudonym.
    """
    groups = _by_content(collection.examples)
    kept = [group[0] for group in groups if not _conflicting(group)]
    patients = merged(_links(groups, images))
    return replace(
        collection,
        examples=tuple(replace(example, patient=patients.get(example.patient, example.patient)) for example in kept),
        set_aside=(*collection.set_aside, *(aside for group in groups for aside in _set_aside(group))),
    )


def label_noise(set_aside: Sequence[SetAside]) -> dict[str, int]:
    """Count the photographs set aside that had copies, and those whose copies had different grades."""
    groups = {
        reason: {aside.detail for aside in set_aside if aside.reason is reason}
        for reason in (SetAsideReason.DUPLICATE, SetAsideReason.CONFLICTING_GRADES)
    }
    return {
        "duplicate_groups": sum(len(details) for details in groups.values()),
        "conflicting_groups": len(groups[SetAsideReason.CONFLICTING_GRADES]),
    }


def perceptual_hash(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Hash n × size × size × 3 to n × 575 bits: the signs of the lowest frequencies (Zauner 2010).

    Only the square inside the disc is hashed, since its rim would make all photographs alike.
    """
    margin = images.shape[1] * 15 // 100
    centres = images[:, margin:-margin, margin:-margin]
    small = np.stack([cv2.resize(centre, (64, 64), interpolation=cv2.INTER_AREA) for centre in centres])
    return bits_of(small @ GREY)


def bits_of(grey: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Hash n × side × side to n × 575 bits."""
    lowest = dctn(grey, axes=(1, 2))[:, :FREQUENCIES, :FREQUENCIES]
    return np.asarray(lowest.reshape(len(grey), -1)[:, 1:] > 0)


def near_duplicates(hashes: NDArray[np.bool_], share: float = NEAR) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows, the smaller first, that differ in at most that share of their bits."""
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    for start in range(0, len(signs), BLOCK):
        agreement = signs[start : start + BLOCK] @ signs[start:].T
        first, second = np.nonzero(agreement >= (1 - 2 * share) * signs.shape[1])
        yield from ((start + i, start + j) for i, j in zip(first.tolist(), second.tolist(), strict=True) if i < j)


def _by_content(examples: Sequence[Example]) -> list[list[Example]]:
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: example.image.name):
        groups[example.image.digest()].append(example)
    return list(groups.values())


def _conflicting(group: Sequence[Example]) -> bool:
    return len({example.grade for example in group}) > 1


def _set_aside(group: Sequence[Example]) -> list[SetAside]:
    first, *copies = group
    if _conflicting(group):
        grades = ", ".join(f"{example.image.name} {example.grade}" for example in group)
        return [SetAside(example.image.name, SetAsideReason.CONFLICTING_GRADES, grades) for example in group]
    return [SetAside(copy.image.name, SetAsideReason.DUPLICATE, f"equals {first.image.name}") for copy in copies]


def _links(groups: Sequence[Sequence[Example]], images: Images) -> list[PatientPair]:
    """List pairs of patients who share a photograph."""
    firsts = [group[0] for group in groups]
    copies = [(group[0].patient, copy.patient) for group in groups for copy in group[1:]]
    near = near_duplicates(hashes(firsts, images))
    return copies + [(firsts[i].patient, firsts[j].patient) for i, j in near]


def hashes(examples: Sequence[Example], images: Images) -> NDArray[np.bool_]:
    """Return the hashes of distinct photographs; they are cached beside the prepared photographs."""
    by_digest = {example.image.digest(): example for example in examples}

    def compute(missing: Sequence[str]) -> dict[str, str]:
        rows: dict[str, str] = {}
        for start in range(0, len(missing), BLOCK):
            block = missing[start : start + BLOCK]
            bits = np.packbits(perceptual_hash(images.batch([by_digest[digest] for digest in block])), axis=1)
            rows |= {digest: row.tobytes().hex() for digest, row in zip(block, bits, strict=True)}
        return rows

    values = cached(images.folder / f"hashes-v{HASH_VERSION}.json", by_digest, compute)
    rows = np.frombuffer(bytes.fromhex("".join(values[digest] for digest in by_digest)), np.uint8)
    return np.unpackbits(rows.reshape(-1, -(-BITS // 8)), axis=1, count=BITS).astype(bool)


def merged(links: Sequence[tuple[Node, Node]]) -> Mapping[Node, Node]:
    """Map each linked patient to the smallest of all patients it is linked to, directly or through others."""
    patients = sorted({patient for pair in links for patient in pair})
    number = {patient: i for i, patient in enumerate(patients)}
    rows, columns = [number[a] for a, _ in links], [number[b] for _, b in links]
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(patients), len(patients)))
    _, labels = connected_components(graph, directed=False)
    _, smallest = np.unique(labels, return_index=True)
    return {patient: patients[smallest[label]] for patient, label in zip(patients, labels, strict=True)}
