"""A federation of three tiny hospitals."""

from collections.abc import Callable
from pathlib import Path

import pytest
from federated_world import NAMES, World

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site


@pytest.fixture
def world(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> Callable[..., World]:
    def make(**overrides: object) -> World:
        sites = [tiny_site(name, patients) for name, patients in zip(NAMES, (5, 10, 15), strict=True)]
        return World(tiny_settings(**overrides), sites, tmp_path)

    return make
