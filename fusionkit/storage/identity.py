"""Content hashes: canonical JSON, digests, identity of a component (options, revision, source, file contents)."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fusionkit.contracts.file_hash import file_hash
from fusionkit.errors import ConfigError, expanded
from fusionkit.registry import REGISTRIES, ComponentRegistry, why_unread
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.source import source_digest
from fusionkit.registry.spec import Spec

_SURROGATE = re.compile("[\\ud800-\\udfff]")


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ConfigError: if the value is not plain data, or holds NaN or infinity.
    """
    try:
        text = json_text(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{value!r} is not plain data: {error}") from error
    return text


def json_text(value: Any, **form: Any) -> str:
    """Return JSON as ``json.dumps`` does, in valid UTF-8: halves of surrogate pairs are escaped, all else is not.

    They are in the path of a file whose name is not UTF-8.
    """
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(value, ensure_ascii=False, **form))


def digest(value: Any) -> str:
    """Return the hash of the canonical JSON (16 hex digits)."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def component_identity(registry: ComponentRegistry, spec: Spec) -> dict[str, Any]:
    """Return what decides the results of a component: name, all options, revision, source, and the bytes of its files.

    Raises:
        ConfigError: if one of its files cannot be read.
    """
    cls = registry.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    options = {name: value for name, value in filled.items() if name not in (*cls.places, *cls.nested)}
    for name in cls.files:
        if options.get(name):
            what = f"{registry.kind} {spec.name!r}: {name}"
            found = [(Path(path).name, file_digest(path, what)) for path in cls.files_of(name, filled)]
            options[name] = found[0][1] if len(found) == 1 else digest(found)
    identity = {
        "name": spec.name,
        "options": options,
        "revision": cls.revision,
        "source": source_digest(cls),
    }
    nested = nested_identities(registry, spec)
    return {**identity, "nested": nested} if nested else identity


def nested_identities(registry: ComponentRegistry, spec: Spec) -> dict[str, dict[str, Any]]:
    """Return the identity of each component that an option names, by option.

    It leaves out a data set's options: their effect is in the data, whose content the outer component must include.
    """
    cls = registry.get(spec.name)
    filled = defaults_filled(cls, spec.options)
    found = {}
    for option, kind in cls.nested.items():
        identity = component_identity(REGISTRIES[f"{kind}s"], Spec.of(filled[option]))
        found[option] = {**identity, "options": {}} if kind == "dataset" else identity
    return found


def file_digest(path: str, what: str) -> str:
    """Return the hash of a file's bytes (16 hex digits).

    Args:
        path: the file.
        what: what the file is, for the error message.

    Raises:
        ConfigError: if it cannot be read.
    """
    try:
        return file_hash(expanded(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} = {path!r} cannot be read: {why_unread(path, error)}") from error
