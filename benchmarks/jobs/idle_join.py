"""`python -m sites` with a worker that does not train: `python -m benchmarks.jobs.idle_join join --dir DIR`."""

from unittest.mock import patch

from benchmarks.jobs.idle_app import Idle
from sites.__main__ import app

if __name__ == "__main__":
    with patch("teledx_fed.deployment.site.hospital.Worker", Idle):
        app()
