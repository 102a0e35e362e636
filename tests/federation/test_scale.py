"""A thousand hospitals on one machine need as much memory as eight."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from teledx_fed.config.loading import build as settings_of
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Identification, Shard, Site
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker

MANY, FEW = 1000, 8


def settings() -> Settings:
    return settings_of(
        {
            "data": {"hospitals": {"tiny": {}}, "image_size": 64},
            "model": {"name": "test_efficientnet", "initial": "none"},
            "training": {"augment": False, "batch_size": 8},
            "federation": {"rounds": 2},
            "outbound": {"min_patients": 1},
        }
    )


def main(number: int, folder: Path) -> None:
    """Print the peak memory of this process, in KiB."""
    from conftest import TinyImages, tiny_examples
    from reporters import RecordingReporter

    torch.set_num_threads(1)
    reporter = RecordingReporter()
    sites = {}
    for name in (f"site-{index}" for index in range(number)):
        examples = tiny_examples(name, 12)
        sites[name] = Site(
            name, Shard(examples[:8], examples[8:16], examples[16:]), TinyImages(folder), Identification.GIVEN
        )
    worker = Worker(build(settings().model, 0))
    federate(sites, [worker], settings(), folder, reporter)
    assert [len(report.accepted) for report in reporter.rounds] == [number] * 3
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


@pytest.mark.slow
def test_a_thousand_sites_need_as_much_memory_as_eight(tmp_path: Path) -> None:
    few, many = (
        int(subprocess.check_output([sys.executable, __file__, str(number), str(tmp_path / str(number))], text=True))
        for number in (FEW, MANY)
    )
    assert many < 1.3 * few


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(int(sys.argv[1]), Path(sys.argv[2]))
