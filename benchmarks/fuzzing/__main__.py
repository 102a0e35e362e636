"""Send ten thousand malformed files and requests to a clinic: `python -m benchmarks.fuzzing [OF_EACH_KIND] [KEPT]`.

With ten thousand, write the results to docs/results/reliability.md. Copy inputs that failed to the folder KEPT, and
then end with exit code 1.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fuzzing import material
from benchmarks.fuzzing.trial import KINDS, MOST_MEMORY_GIB, Fate
from benchmarks.measure import machine
from benchmarks.sections import RESULTS, write_section

OF_EACH_KIND = 1430
AT_ONCE, A_PROCESS = 2, 500
ROW = "| {kind} | {inputs} | {accepted} | {refused} | {crashed} | {error} | {ended} | {left} | {mib:.0f} |"
COLUMNS = ("inputs", "sent", "accepted", "refused", "exceptions", "HTTP 5xx", "died", "files elsewhere", "MiB at most")
HEAD = """## Malformed files and requests

The inputs are mutated photographs (JPEG, PNG, TIFF, BMP, DICOM of every supported transfer syntax) and requests (of
devices: forms, FHIR, resumable uploads; of people: log-ins, pages, links), each from its own seed. Mutations flip
bits, cut, repeat, move and join parts, set lengths and counts to the limits of their fields, announce very large
pictures, use file names that lead out of the folder, and send thousands of forms and headers. A real clinic with a
model, a database and its web application receives them, in processes with at most {most} GiB of address space. Each
refusal states its reason.

```sh
python -m benchmarks.fuzzing
```

{inputs} inputs. On {machine}.

"""


@dataclass(frozen=True)
class Outcome:
    """Results of some inputs of one kind; `left` are files where none should be."""

    kind: str
    fates: Counter[str]
    left: tuple[str, ...]
    mib: float
    ended: bool

    @property
    def failed(self) -> bool:
        return bool(self.ended or self.left or self.fates[Fate.CRASHED] or self.fates[Fate.ERROR])


def run_trial(kind: str, first: int, end: int, prepared: Path, failures: Path) -> Outcome:
    with TemporaryDirectory() as folder:
        (Path(folder) / "material").symlink_to(prepared)
        command = [sys.executable, "-m", "benchmarks.fuzzing.trial", kind, str(first), str(end), folder]
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        results = [json.loads(line) for line in process.stdout.splitlines()]
        for file in (Path(folder) / "inputs").glob("*"):
            failures.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, failures)
    fates = Counter(str(result["fate"]) for result in results if "fate" in result)
    left = [trace for result in results for trace in result.get("traces", ())]
    mib = max((result["mib"] for result in results if "mib" in result), default=0.0)
    whole = process.returncode == 0 and fates.total() == end - first
    return Outcome(kind, fates, tuple(left), mib, not whole)


def row(kind: str, outcomes: Sequence[Outcome]) -> str:
    fates = sum((outcome.fates for outcome in outcomes), Counter[str]())
    return ROW.format(
        kind=kind,
        inputs=fates.total(),
        **{fate: fates[fate] for fate in Fate},
        ended=sum(outcome.ended for outcome in outcomes),
        left=sum(len(outcome.left) for outcome in outcomes),
        mib=max(outcome.mib for outcome in outcomes),
    )


def main(of_each: int, failures: Path) -> bool:
    """Run all trials. Return whether none failed."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        prepared = Path(folder)
        material.write(prepared)
        material.write_vast(prepared)
        parts = [(kind, at, min(at + A_PROCESS, of_each)) for kind in KINDS for at in range(0, of_each, A_PROCESS)]
        outcomes = list(pool.map(lambda part: run_trial(part[0], part[1], part[2], prepared, failures), parts))
    rows = [row(kind, [outcome for outcome in outcomes if outcome.kind == kind]) for kind in KINDS]
    inputs = sum(outcome.fates.total() for outcome in outcomes)
    table = "\n".join((f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows))
    page = HEAD.format(most=MOST_MEMORY_GIB, inputs=f"{inputs:,}", machine=machine()) + table
    print(page)
    for outcome in (outcome for outcome in outcomes if outcome.failed):
        print(f"{outcome.kind}: {dict(outcome.fates)} {outcome.left}, see {failures}", file=sys.stderr)
    if of_each >= OF_EACH_KIND:
        write_section(RESULTS / "reliability.md", "malformed", page)
    return not any(outcome.failed for outcome in outcomes)


if __name__ == "__main__":
    of_each = int(sys.argv[1]) if len(sys.argv) > 1 else OF_EACH_KIND
    sys.exit(not main(of_each, Path(sys.argv[2] if len(sys.argv) > 2 else "fuzzing")))
