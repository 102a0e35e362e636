"""Check of plain words: `python tests/plain_words.py` lists phrases that are hard to read, with a proposal.

It reads pages (*.md), templates, and the docstrings, comments and messages of *.py. It also lists variables and
parameters that are not nouns of the field, except in tests.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ITSELF = Path(__file__).name

CHECKED = ("*.md", "*.py", "*.jinja", "*.yaml", "*.sh")
PHRASES = {
    r"whoever|whomever": "anyone who; or name the person",
    r"that which|of that which": "what; or name the thing",
    r"what (?:is|was|were|has been|had been) (?:told|said|asked|known|given|held|seen|moved)": "name the thing",
    r"(?:is|are|was|were|be) told(?: of| apart| in| so| which| why)?": "is reported; the page shows; are different",
    r"hears?|heard": "receives, received",
    r"bears?|borne": "tolerates, tolerated",
    r"knocks?": "connects, requests",
    r"strangers?": "unknown client, unknown person",
    r"keepsakes?": "round state",
    r"speaks? (?:most |least |best )?for": "contributes to, supports",
    r"(?:has|have|had) no say": "has no effect",
    r"owed|owes": "is added later",
    r"anew|afresh": "again",
    r"upon|thereof|therein|wherein|hitherto|naught|nought|lest|whilst|amongst": "an everyday word",
    r"for want of": "without",
    r"as (?:it|they) stands?": "unchanged",
    r"of so many|so many at once": "state the number",
    r"the house(?:'s)?(?! number)": "the project",
    r"drawn (?:hospitals?|eyes?|photographs?|patients?|ones?)": "synthetic",
    r"sternest|sterner": "most urgent",
    r"goes on with|go on with": "continues",
    r"all the same(?= ?[,.;:])": "still, anyway",
    r"never not": "state it without two negations",
    r"(?:page|report|table|file|function|log|model|server) (?:knows|forgets|remembers|speaks)": "stores, contains",
    r"what becomes of|what became of": "the result of",
}
VARIABLES = {"asked", "begun", "crew", "found", "given", "held", "lent", "said", "told"}
PATTERN = re.compile("|".join(rf"(\b(?:{phrase})\b)" for phrase in PHRASES), re.IGNORECASE)
CODE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|<[^>\n]*>", re.DOTALL)
FEWEST_WORDS = 3
"""A shorter string is a name or a key."""
PROSE = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file by line number; in a page without its code, in a program nothing but prose."""
    content = path.read_text("utf-8")
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(content).readline):
            if token.type in PROSE and len(token.string.split()) >= FEWEST_WORDS:
                yield token.start[0], token.string
    else:
        prose = CODE.sub(lambda match: "\n" * match[0].count("\n") or "x", content)
        yield from enumerate(prose.splitlines(), 1)


def faults(path: Path) -> Iterator[str]:
    """Yield a line for each phrase: where it is, and what to write instead."""
    for number, text in texts(path):
        for match in PATTERN.finditer(text):
            proposal = list(PHRASES.values())[(match.lastindex or 1) - 1]
            line = number + text[: match.start()].count("\n")
            yield f"{path.relative_to(ROOT)}:{line}: {match[0]!r}: {proposal}"


def variables(path: Path) -> Iterator[str]:
    """Yield a line for each variable or parameter whose name does not say what its value is."""
    tree = ast.parse(path.read_text("utf-8"))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    fields = {id(part.target) for node in classes for part in node.body if isinstance(part, ast.AnnAssign)}
    for node in ast.walk(tree):
        bound = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields
        name = node.id if bound else node.arg if isinstance(node, ast.arg) else ""
        if name in VARIABLES:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: variable {name!r}: the noun for its value"


def main() -> int:
    """Check the tracked files; exit code 1 if one has such a phrase or variable."""
    listed = subprocess.run(["git", "ls-files", *CHECKED], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.splitlines() if Path(name).name != ITSELF]
    programs = [name for name in names if name.endswith(".py") and not name.startswith("tests/")]
    lines = [line for name in names for line in faults(ROOT / name)]
    lines += [line for name in programs for line in variables(ROOT / name)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
