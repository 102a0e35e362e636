"""Pages name paths that exist, and each link of a page leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(
    r"(?<![\w/.])(?:(?:teledx_fed|tests|benchmarks|conf|docs|packaging|sites|server)/[\w./-]*"
    r"|(?:run_simulation\.py|pyproject\.toml|requirements\.txt|CHANGELOG\.md|Makefile)\b)"
)
EXAMPLE = re.compile(r"^In `([^`]+)`:$", re.MULTILINE)
"""A file that the reader adds."""
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
