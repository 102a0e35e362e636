"""Rules of the source code: randomness, test sets, errors, and files that it never writes."""

import ast
import re
from collections import Counter

from source_code import ROOT, imports, sources

GLOBAL_RANDOMNESS = {
    "torch": {"manual_seed", "seed", "rand", "randn", "randint", "randperm", "set_rng_state"},
    "np.random": None,
    "numpy.random": None,
    "random": None,
}


ISOLATED = {"default_rng", "Generator", "SeedSequence", "fork_rng", "generator"}


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
