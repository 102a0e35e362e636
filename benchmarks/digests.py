"""Digests of whole runs: `python -m benchmarks.digests FILE` records them, or compares them with those in FILE.

Equal digests prove that a refactor changed no result. Each run is `run_simulation.py` in its own process: `quick` and
`quick_full` with seeds 0 to 2, and each strategy for three rounds. A digest is the SHA-256 of `model.safetensors`, and
of `report.json` without its times. Exit code 1 if one differs. Bits depend on the processor and on the number of
threads, so compare on one machine.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from teledx_fed.core.files import write_text

ROOT = Path(__file__).parents[1]
STRATEGIES = sorted(path.stem for path in (ROOT / "conf" / "strategy").glob("*.yaml"))
RUNS = {
    **{
        f"{experiment}, seed {seed}": (f"experiment={experiment}", f"seed={seed}")
        for experiment in ("quick", "quick_full")
        for seed in range(3)
    },
    **{
        f"{strategy}, three rounds": ("experiment=poisoned", f"strategy={strategy}", "federation.rounds=3", "seeds=[0]")
        for strategy in STRATEGIES
    },
}


def main(path: Path) -> None:
    before = json.loads(path.read_text()) if path.exists() else {}
    with TemporaryDirectory() as folder:
        after = {name: digests(overrides, Path(folder), name) for name, overrides in RUNS.items()}
    if not before:
        write_text(path, json.dumps(after, indent=1))
        return
    different = sorted(name for name in RUNS if after[name] != before.get(name))
    print(json.dumps({"runs": len(RUNS), "different": different}))
    sys.exit(bool(different))


def digests(overrides: tuple[str, ...], folder: Path, name: str) -> dict[str, str]:
    run = folder / name.replace(" ", "_").replace(",", "")
    once = ["hydra.mode=RUN"] if "experiment=poisoned" in overrides else []
    tolerated = (
        ["strategy.faulty=0", "federation.quorum=3"] if "strategy=bulyan" in overrides else []
    )  # there are five hospitals; one faulty site would need seven
    command = [
        sys.executable,
        "run_simulation.py",
        *overrides,
        *once,
        *tolerated,
        f"folder={run}",
        f"data.cache={folder / 'cache'}",
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    report = json.loads((run / "report.json").read_text())
    report.pop("seconds", None)
    (model,) = (path for path in run.rglob("model.safetensors") if "bundles" not in path.parts)
    return {
        "model.safetensors": hashlib.sha256(model.read_bytes()).hexdigest(),
        "report.json": hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
