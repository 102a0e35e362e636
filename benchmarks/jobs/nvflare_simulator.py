# mypy: disable-error-code="import-not-found"
"""NVFlare's simulator: `python -m benchmarks.jobs.nvflare_simulator LOOP FOLDER`. One process per site, all at once."""

import sys
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

from benchmarks.jobs import nvflare_client
from benchmarks.jobs.quickstart import Net
from benchmarks.jobs.task import ROUNDS, SITES


def main(loop: str, folder: Path) -> None:
    recipe = FedAvgRecipe(
        name="job",
        model=Net(),
        min_clients=SITES,
        num_rounds=ROUNDS,
        train_script=nvflare_client.__file__,
        train_args=loop,
    )
    recipe.execute(SimEnv(num_clients=SITES, workspace_root=str(folder)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
