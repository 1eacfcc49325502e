"""Writes a package with one component that works, its tests and its entry point: something to start from."""

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

from fusionkit.errors import ConfigError, StorageError
from fusionkit.registry import REGISTRIES

TEMPLATES = Path(__file__).parent / "templates"
_USES = {
    "fusion": "fusionkit bench --regions eye,mouth --fusion $name,concat",
    "smoother": "fusionkit bench --regions eye,mouth --fusion mlp --smoother none,$name",
    "extractor": "fusionkit bench --extractor $name --regions upper --regions lower --fusion mlp",
    "backbone": "fusionkit bench --backbone $name,hog --regions eye,mouth --fusion mlp",
    "dataset": "fusionkit bench --dataset $name:root=DIR --regions eye,mouth --fusion mlp",
}
KINDS = tuple(_USES)


def rendered(template: str, kind: str, name: str, package: str | None = None) -> str:
    """A template's text for a component.

    Args:
        template: its file's name without ``.txt``.
        kind: singular.
        name: the component's, in kebab-case.
        package: that the component is in; None for one of its name.
    """
    words = {
        "kind": kind,
        "article": "An" if kind[0] in "aeiou" else "A",
        "name": name,
        "distribution": name,
        "package": package or name.replace("-", "_"),
        "module": kind,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    words["usage"] = Template(_USES[kind]).substitute(words)
    return Template((TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(words)


def write_package(kind: str, name: str, folder: Path) -> Path:
    """Write the package ``folder/name``, whole or not at all.

    Args:
        kind: singular.
        name: of the component and of the distribution, in kebab-case.
        folder: where the package's own folder is made.

    Raises:
        ConfigError: if the kind is unknown, the name cannot be used or is taken, or the folder is there.
        StorageError: if it cannot be written.
    """
    problems = [*_of_kind(kind), *_of_name(kind, name)]
    if problems:
        raise ConfigError(problems)
    target = folder.expanduser() / name
    if target.exists():
        raise ConfigError(f"{target} is there already", hint="another name, or another folder with --out")
    package = name.replace("-", "_")
    files = {
        "pyproject.toml": rendered("pyproject.toml", kind, name),
        "README.md": rendered("README.md", kind, name),
        f"src/{package}/__init__.py": f'"""{kind.capitalize()} {name} for fusionkit."""\n',
        f"src/{package}/{kind}.py": rendered(f"{kind}.py", kind, name),
        f"tests/test_{package}.py": rendered(f"test_{kind}.py", kind, name),
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


def _of_kind(kind: str) -> list[str]:
    return [] if kind in KINDS else [f"unknown kind {kind!r}; known: {', '.join(KINDS)}"]


def _of_name(kind: str, name: str) -> list[str]:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        return [f"{name!r} cannot be a component's name: write it like 'gated-sum', in lower case, a letter first"]
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in sys.stdlib_module_names:
        return [f"{name!r} is a word of Python's own, so no package can have it as its name"]
    registry = REGISTRIES.get(f"{kind}s")
    if registry is not None and name in registry.names():
        return [f"there is a {kind} {name!r} already, {registry.origins()[name][0].brought_by}"]
    if package in packages_distributions() or importlib.util.find_spec(package) is not None:
        return [f"a package {package!r} is installed already: the new one would hide it, or be hidden"]
    return []
