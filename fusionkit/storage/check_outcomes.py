"""Outcomes of the checks that ran before the first bench of a component, kept in the cache folder.

There is one file for each component and its options. It is replaced when the identity of the component changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fusionkit._version import __version__
from fusionkit.contracts.file_hash import file_hash
from fusionkit.errors import StorageError
from fusionkit.storage.artifact import write_file
from fusionkit.storage.identity import digest

_FOLDER = Path("checks") / __version__  # in the cache; another version has other checks


@dataclass(frozen=True)
class CheckOutcome:
    """Outcome of the checks of a component with one set of options.

    Attributes:
        kind: kind of the component, singular.
        component: its SPEC.
        name: its registered name.
        target: ``module:Class``.
        provider: distribution, module or file that provides it.
        identity: hash of what decides its results.
        ran: number of checks that applied and ran.
        failed: names of the checks that failed; with the cause, if the check ended its process or took too long.
        details: the command that runs all checks of the component and explains failures.
        sources: hash of each source file, by path.
    """

    kind: str
    component: str
    name: str
    target: str
    provider: str
    identity: str
    ran: int
    failed: list[str]
    details: str
    sources: dict[str, str]


def read_outcome(cache: Path, kind: str, component: str, target: str, identity: str) -> CheckOutcome | None:
    """Return the outcome of a component; None if it was not checked with this identity."""
    outcome = _outcome(_file(cache, kind, component, target))
    return outcome if outcome and outcome.identity == identity else None


def write_outcome(cache: Path, outcome: CheckOutcome) -> None:
    """Keep an outcome. Without it the checks run again at the next bench, so a failure is no error."""
    with suppress(StorageError):
        file = _file(cache, outcome.kind, outcome.component, outcome.target)
        write_file(file, json.dumps(asdict(outcome), indent=1).encode())


def failed_checks(cache: Path) -> dict[tuple[str, str], list[str]]:
    """Return the failed checks of components whose source is unchanged, by kind and target (``module:Class``).

    No component is imported.
    """
    found: dict[tuple[str, str], dict[str, None]] = {}
    for outcome in _outcomes(cache):
        if outcome.failed and outcome.sources and all(_hash(path) == known for path, known in outcome.sources.items()):
            found.setdefault((outcome.kind, outcome.target), {}).update(dict.fromkeys(outcome.failed))
    return {component: list(names) for component, names in found.items()}


def _file(cache: Path, kind: str, component: str, target: str) -> Path:
    return cache / _FOLDER / f"{digest([kind, ascii(component), target])}.json"


def _outcomes(cache: Path) -> Iterator[CheckOutcome]:
    for file in sorted((cache / _FOLDER).glob("[!.]*.json")):
        outcome = _outcome(file)
        if outcome is not None:
            yield outcome


def _outcome(file: Path) -> CheckOutcome | None:
    try:
        return CheckOutcome(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _hash(path: str) -> str:
    try:
        return file_hash(Path(path))
    except OSError:
        return ""
