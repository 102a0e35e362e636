"""Writing of bundles, separate from reading, which needs no PyTorch."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from teledx_fed.config.learning import HeadName
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import write_bytes, write_text
from teledx_fed.model.bundle import GRAPH, MANIFEST, MANIFESTS, WEIGHTS, Manifest
from teledx_fed.model.card import FILE, KEY, Card, network_card
from teledx_fed.model.export import export
from teledx_fed.model.network import Grader, save
from teledx_fed.model.network_card import LOGITS, MAPS


class _Mapped(nn.Module):
    def __init__(self, network: Grader) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, maps = self.network.forward_with_maps(images)
        if maps.ndim != 4:
            raise ConfigurationError(
                "model.name must be a network with feature maps for a bundle, got another. Choose a CNN."
            )
        return logits, maps


def write_bundle(network: Grader, manifest: Manifest, folder: Path) -> None:
    """Write a bundle. Weights and graph contain the card of MODEL_CARD.md.

    The manifest is written last, with their hashes: without it, a folder is no bundle.
    """
    if network.settings.head != HeadName.GRADES:
        raise ConfigurationError(
            f"model.head must be grade for a bundle, got {network.settings.head}. Train five grades."
        )
    (folder / MANIFEST).unlink(missing_ok=True)
    size = manifest.preparation.image_size
    described = replace(manifest, network=network_card(network, size))
    card = Card(network_card(network, size), manifest.preparation, manifest.trained, manifest.demonstration, described)
    save(network, folder / WEIGHTS, card.block)
    write_bytes(folder / GRAPH, export(_Mapped(network), size, (LOGITS, MAPS), {KEY: json.dumps(card.block)}))
    write_text(folder / FILE, card.markdown())
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, GRAPH)}
    write_bytes(folder / MANIFEST, MANIFESTS.dump_json(replace(described, files=files), indent=2))
