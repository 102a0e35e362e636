"""Pages name paths and functions that exist, and every link has a target."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(
    r"(?<![\w/.])(?:(?:teledx_fed|tests|benchmarks|conf|docs|packaging|sites|server)/[\w./-]*"
    r"|(?<=`)[\w/]+/\w+\.py(?=`)"
    r"|(?:run_simulation\.py|pyproject\.toml|requirements\.txt|CHANGELOG\.md|Makefile)\b)"
)
EXAMPLE = re.compile(r"^In `([^`]+)`:$", re.MULTILINE)
"""A file that the reader adds."""
STEP = re.compile(r"`([\w/]+\.py)`: (`[\w.]+`(?:, `[\w.]+`)*)")
"""A file and some of its functions, classes or methods."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```|^    .*?$", re.DOTALL | re.MULTILINE)


def is_path_of_a_run(path: str) -> bool:
    """Return whether `path` is in the folder that `python -m server init server` makes, and not in the repository."""
    return path.startswith("server/") and not path.endswith((".py", "/"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_page_names_exist(page: Path) -> None:
    text = BLOCK.sub("", page.read_text("utf-8"))
    paths = {match[0].rstrip("./") for match in NAMED.finditer(text) if not is_path_of_a_run(match[0])}
    paths -= set(EXAMPLE.findall(text))
    assert [path for path in sorted(paths) if not any(ROOT.glob(path.replace("NAME", "*")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        path, _, section = target.partition("#")
        if ":" in path:
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not section or section in anchors(file), target


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def names(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    """Return the functions, classes and methods of a module, as `function` or `Class.method`."""
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            defined |= names(node, f"{node.name}.")
    return defined


def test_steps_of_the_architecture_exist() -> None:
    steps = STEP.findall((ROOT / "docs" / "architecture.md").read_text("utf-8"))
    assert len(steps) > 30
    for path, functions in steps:
        defined = names(ast.parse((ROOT / path).read_text("utf-8")))
        assert set(re.findall(r"`([\w.]+)`", functions)) <= defined, path


def test_no_flow_of_the_architecture_returns_to_a_file() -> None:
    for flow in (ROOT / "docs" / "architecture.md").read_text("utf-8").split("\n## "):
        files = [path for path, _ in STEP.findall(flow)]
        visits = [path for before, path in zip([None, *files], files, strict=False) if path != before]
        assert len(visits) == len(set(visits)), flow.partition("\n")[0]


def test_the_picture_shows_each_package() -> None:
    drawing = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
    packages = {path.parent.name for path in (ROOT / "teledx_fed").glob("*/__init__.py")}
    assert packages <= set(re.findall(r">([\w./]+)</text>", drawing))
