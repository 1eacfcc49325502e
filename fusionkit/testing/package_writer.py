"""Write a plugin package with one working component, its tests and its entry point: ``fusionkit new``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
import tempfile
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template

from fusionkit.errors import ConfigError, StorageError, expanded
from fusionkit.registry import REGISTRIES

TEMPLATES = Path(__file__).parent / "templates"
_USES = {
    "fusion": "fusionkit bench --regions eye,mouth --fusion $name,concat",
    "clip-fusion": "fusionkit bench --regions eye,mouth --fusion $name,mlp --smoother none,window",
    "smoother": "fusionkit bench --regions eye,mouth --fusion mlp --smoother none,$name",
    "extractor": "fusionkit bench --extractor $name --regions upper --regions lower --fusion mlp",
    "backbone": "fusionkit bench --backbone $name,hog --regions eye,mouth --fusion mlp",
    "dataset": "fusionkit bench --dataset $name:root=DIR --regions eye,mouth --fusion mlp",
    "task": "fusionkit bench --task $name --dataset DATASET --regions eye,mouth --fusion mlp",
}
KINDS = tuple(_USES)
"""What can be written: a kind of component, or ``clip-fusion``, a fusion over time."""


def write_package(kind: str, name: str, folder: Path) -> Path:
    """Write the package ``folder/name`` completely, or not at all, and return its folder.

    Args:
        kind: one of :data:`KINDS`.
        name: of the component and of the distribution, in kebab-case.
        folder: parent of the folder of the package.

    Raises:
        ConfigError: if the kind is unknown, the name is invalid or taken, or the folder exists.
        StorageError: if the package cannot be written.
    """
    problems = [*_kind_problems(kind), *_name_problems(kind, name)]
    if problems:
        raise ConfigError(problems)
    target = expanded(folder) / name
    if target.exists():
        raise ConfigError(f"{target} already exists", hint="choose another name, or another folder with --out")
    package = name.replace("-", "_")
    files = {
        "pyproject.toml": rendered("pyproject.toml", kind, name),
        "README.md": rendered("README.md", kind, name),
        f"src/{package}/__init__.py": f'"""{_words(kind).capitalize()} {name} for fusionkit."""\n',
        f"src/{package}/py.typed": "",
        f"src/{package}/{_module(kind)}.py": rendered(f"{_module(kind)}.py", kind, name),
        f"tests/test_{package}.py": rendered(f"test_{_module(kind)}.py", kind, name),
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            for path, text in files.items():
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).write_text(text, encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def rendered(template: str, kind: str, name: str, package: str | None = None) -> str:
    """Return the text of a template for a component.

    Args:
        template: name of its file without ``.txt``.
        kind: one of :data:`KINDS`.
        name: of the component, in kebab-case.
        package: Python package of the component. Default: its name in snake_case.
    """
    words = {
        "kind": _words(kind),
        "group": _group(kind),
        "article": "An" if kind[0] in "aeiou" else "A",
        "name": name,
        "distribution": name,
        "package": package or name.replace("-", "_"),
        "module": _module(kind),
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    words["usage"] = Template(_USES[kind]).substitute(words)
    return Template((TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(words)


def _words(kind: str) -> str:
    return kind.replace("-", " ")


def _module(kind: str) -> str:
    return kind.replace("-", "_")


def _group(kind: str) -> str:
    """Return the registry of a kind."""
    return f"{kind.removeprefix('clip-')}s"


def _kind_problems(kind: str) -> list[str]:
    return [] if kind in KINDS else [f"unknown kind {kind!r}; known kinds: {', '.join(KINDS)}"]


def _name_problems(kind: str, name: str) -> list[str]:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return [f"name {name!r} must be kebab-case, such as 'gated-sum': lower-case letters and digits, a letter first"]
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in sys.stdlib_module_names:
        return [f"name {name!r} is a keyword or a standard module of Python, so a package cannot have it"]
    registry = REGISTRIES.get(_group(kind))
    if registry is not None and name in registry.names():
        return [f"{registry.kind} {name!r} already exists in {registry.origins()[name][0].provider}"]
    if package in packages_distributions() or importlib.util.find_spec(package) is not None:
        return [f"package {package!r} is already installed; one of the two would hide the other"]
    return []
