"""Every hospital in this process: `python run_simulation.py experiment=quick`."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from teledx_fed import settings as settings_of
from teledx_fed.settings import Settings

OmegaConf.register_new_resolver("first", lambda *choices: next(choice for choice in choices if choice))


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        settings = _settings(composed, folder)
        from teledx_fed.experiment import conduct  # torch and timm, which --help does without

        conduct(settings, folder)
    except (ValueError, ConnectionError) as error:
        sys.exit(f"error: {error}")
    print(f"run folder: {folder}")


def _settings(composed: DictConfig, folder: Path) -> Settings:
    """As composed, and kept in the run folder; a resumed run keeps what it was begun with."""
    kept = folder / "config.yaml"
    if composed.resume is None:
        settings = replace(settings_of.build(composed), folder=str(folder))
        if kept.exists():
            raise ValueError(f"folder must be new, got {folder}, which holds a run. Say resume={folder}, or another.")
        settings_of.save(settings, kept)
        return settings
    if (others := [o for o in HydraConfig.get().overrides.task if not o.startswith("resume=")]) or not kept.exists():
        raise ValueError(
            f"resume must name a run folder, and come alone, got {composed.resume} {' '.join(others)}. "
            "A run goes on with the settings in its config.yaml."
        )
    return settings_of.load(kept)


def usage() -> str:
    """What can be said on the command line; Hydra takes twice as long to tell it."""
    groups = sorted(group for group in (Path(__file__).parent / "conf").iterdir() if group.is_dir())
    choices = [
        f"  {group.name}=" + "|".join(sorted(file.stem for file in group.glob("*.yaml")))
        for group in groups
        if group.name != "hydra"
    ]
    return "\n".join(
        [
            f"{__doc__}\n\nChoices, each a file in conf/:",
            *choices,
            "\nSettings with their defaults, which choices change, and you: federation.rounds=3",
            OmegaConf.to_yaml(OmegaConf.structured(Settings)),
            "--cfg job shows what a command comes to; seed=0,1,2 --multirun runs three; --hydra-help tells more",
        ]
    )


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(usage())
        sys.exit()
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    main()
