"""The language of the code base: documented public names, described options, the field's words."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from fusionkit.cli import app

ROOT = Path(__file__).parents[1]
CODE = [path for folder in ("fusionkit", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]
PROSE = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks/README.md",
]
PAGES = [path for suffix in ("*.j2", "*.js", "*.txt") for path in sorted((ROOT / "fusionkit").rglob(suffix))]

# Private words for public concepts, with the field's word for each.
PRIVATE_WORDS = {
    r"treatments?": "perturbation",
    r"standings?": "significance",
    r"outlook|prospects?": "status",
    r"last.words": "worker stderr",
    r"leftovers": "partial files",
    r"held.memory": "malloc tuning",
    r"sightings?": "tracked face",
    r"footage": "video",
    r"answerers?": "predictor",
    r"lettering": "text drawing",
    r"close.ups?": "zoom",
    r"retested": "model under test",
    r"family(?! of)": "row",
    r"with the same eyes": "decoding",
}
# Riddles and old-fashioned phrases.
PHRASES = [
    *(
        r"\banew\b",
        r"\bas it is[.,;:)]",
        r"\bis none of (?!these)",
        r"nothing is called",
        r"lean on",
        r"\bwho is\b",
        r"stands? ready",
    ),
    *(r"what is (said|told)", r"held against", r"\btold of\b", r"is told", r"alike in all else", r"says? so\b"),
    *(r"be told apart", r"\bwhose\b.*\?$", r"\bgoes on where\b", r"\bGo on where\b", r"in one go\b"),
]


def public_names(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Yield (dotted name, node) of the module and its public classes, functions and methods."""
    tree = ast.parse(path.read_bytes())
    yield "module", tree
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{part.name}", part)
                for part in node.body
                if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")
            )


def test_every_public_name_has_a_docstring() -> None:
    lacking = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in CODE
        if "tests" not in path.parts
        for name, node in public_names(path)
        if not ast.get_docstring(node)
        and not any(ast.unparse(each).endswith((".setter", "overload")) for each in getattr(node, "decorator_list", []))
    ]
    assert lacking == []


def commands(group: object, name: str = "fusionkit") -> Iterator[tuple[str, object]]:
    for key, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from commands(command, f"{name} {key}")
        else:
            yield f"{name} {key}", command


def test_every_option_of_a_command_says_what_it_does_and_its_default() -> None:
    lacking = []
    for name, command in commands(typer.main.get_command(app)):
        for param in command.params:  # type: ignore[attr-defined]
            text = getattr(param, "help", None) or ""
            stated = param.required or param.is_flag if hasattr(param, "is_flag") else param.required
            known = param.default not in (None, (), []) and getattr(param, "show_default", True)
            if not text or not (stated or known or "default" in text.lower() or getattr(param, "is_eager", False)):
                lacking.append(f"{name} {param.opts[0]}: {text!r}")
    assert lacking == []


@cache
def lines_of(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))


@pytest.mark.parametrize("pattern", PRIVATE_WORDS)
def test_no_private_word_for_a_public_concept(pattern: str) -> None:
    word = re.compile(rf"(?<![a-z])({pattern})(?![a-z])", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*CODE, *PROSE, *PAGES]
        if "decisions" not in path.parts and path.name != "changelog.md"
        for number, line in lines_of(path)
        if word.search(line)
    ]
    assert found == [], f"write: {PRIVATE_WORDS[pattern]}"


@pytest.mark.parametrize("pattern", PHRASES)
def test_no_riddle(pattern: str) -> None:
    phrase = re.compile(pattern, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*CODE, *PROSE, *PAGES]
        if "decisions" not in path.parts
        for number, line in lines_of(path)
        if phrase.search(line)
    ]
    assert found == []
