"""README.md for the checks: ``commands`` prints its set-up commands, ``examples`` runs its Python blocks.

``links`` looks for what README.md and the other Markdown files outside of docs/ link to; those in docs/ mkdocs checks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
FENCED = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
SHELLS = {"bash", "console", "sh", "shell"}


def blocks(languages: set[str]) -> list[str]:
    """The fenced blocks in these languages, with empty lines before so that line numbers are README.md's."""
    text = README.read_text(encoding="utf-8")
    found = [match for match in FENCED.finditer(text) if match["language"] in languages]
    return ["\n" * text.count("\n", 0, match.start("text")) + match["text"] for match in found]


def commands() -> list[str]:
    lines = [line.removeprefix("$ ").strip() for block in blocks(SHELLS) for line in block.splitlines()]
    found = [line for line in lines if line.startswith("python -m pip install -c constraints.txt")]
    if len(found) != 2:
        raise SystemExit(f"README.md must give two set-up commands in shell blocks; it gives {found}")
    return found


def run_examples() -> int:
    """Run the Python blocks as a reader would: in order, in one session, in the present directory."""
    examples = blocks({"py", "python"})
    if not examples:
        raise SystemExit("README.md has no Python block; its example is missing")
    session: dict[str, object] = {"__name__": "__main__"}
    for example in examples:
        exec(compile(example, str(README), "exec"), session)
    return len(examples)


def check_links() -> int:
    """See that every file that is linked to is there."""
    root, found, gone = README.parent, 0, []
    for page in [page for page in root.rglob("*.md") if page.relative_to(root).parts[0] != "docs"]:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = match["target"]
            if not target.startswith(("https://", "http://", "mailto:", "#")):
                found += 1
                gone += [] if (page.parent / target.partition("#")[0]).exists() else [f"{page.name}: {target}"]
    if gone or not found:
        raise SystemExit(f"links to files that are not there: {gone or 'none found at all'}")
    return found


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["commands"]:
            print(*commands(), sep="\n")
        case ["examples"]:
            print(f"{run_examples()} blocks ran")
        case ["links"]:
            print(f"{check_links()} links lead to files")
        case _:
            raise SystemExit("usage: readme.py commands | examples | links")
