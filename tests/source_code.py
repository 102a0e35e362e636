"""The source code as syntax trees."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


LIBRARY = ROOT / "teledx_fed"


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
