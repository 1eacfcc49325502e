"""Provenance of a run folder: command, settings, software and hardware of each grid."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Provenance of one grid.

    Attributes:
        name: name of its config.
        command: command line for a shell; empty if unknown.
        config: settings for ``fusionkit bench CONFIG``, as JSON.
        facts: machine and software, by name.
        components: name, kind, version and options of each component.
        weights: weights of backbones and preparation of their views, one line each.
    """

    name: str
    command: str
    config: str
    facts: dict[str, str]
    components: list[tuple[str, str, str, str]]
    weights: list[str]


def origins(grid: dict[str, Any]) -> list[Origin]:
    """Return the provenance of the grids of a folder, in the order of their runs.

    Args:
        grid: content of ``grid.json``.
    """
    return [_origin(item["description"], item.get("provenance") or {}) for item in grid["grids"]]


def _origin(description: dict[str, Any], provenance: dict[str, Any]) -> Origin:
    config = {key: value for key, value in description.items() if key != "name" and value is not None}
    return Origin(
        name=str(description.get("name", "")),
        command=_lines(provenance.get("command", [])),
        config=json.dumps(config, indent=1, ensure_ascii=False),
        facts={name: text for name, text in _facts(provenance).items() if text},
        components=[_component(each) for each in provenance.get("components", [])],
        weights=[
            *(_weights(each) for each in provenance.get("weights", [])),
            *(line for each in provenance.get("preparation", []) for line in _preparation(each)),
        ],
    )


def _lines(command: list[str]) -> str:
    """Return a command for a shell, each option on its own line."""
    parts = [("\\\n  " if word.startswith("--") else "") + shlex.quote(word) for word in command]
    return " ".join(parts)


def _facts(provenance: dict[str, Any]) -> dict[str, str]:
    versions = provenance.get("versions", {})
    gpu = provenance.get("gpu") or {}
    return {
        "fusionkit": str(provenance.get("fusionkit", "")),
        "git": str(provenance.get("git", "")),
        "Python": str(provenance.get("python", "")),
        "libraries": ", ".join(f"{name} {number}" for name, number in versions.items() if name != "fusionkit"),
        "machine": ", ".join(str(provenance[name]) for name in ("machine", "cpu") if provenance.get(name)),
        "cores": str(provenance.get("cores", "")),
        "device": str(provenance.get("device", "")),
        "GPU": ", ".join(gpu.get("models", [])),
        "precision": ", ".join(f"{name}: {value}" for name, value in provenance.get("precision", {}).items()),
        "executor": _text(provenance.get("executor", "")),
    }


def _component(each: dict[str, Any]) -> tuple[str, str, str, str]:
    options = ", ".join(f"{name}={_text(value)}" for name, value in each.get("options", {}).items())
    version = f"{each.get('distribution') or 'a file'}, revision {each.get('revision')}, source {each.get('source')}"
    return str(each.get("name", "")), str(each.get("kind", "")).removesuffix("s"), version, options


def _weights(each: dict[str, str]) -> str:
    if "published" in each:
        return f"{each['component']}: published as {each['published']}"
    return f"{each['component']}: {each['option']} {each['file']}, hash {each['hash']}"


def _preparation(each: dict[str, Any]) -> list[str]:
    """Return the preparation of a backbone's views, and the notes on the loading of its weights."""
    height, width = each["size"]
    normalised = f"mean {_text(each['mean'])}, std {_text(each['std'])}"
    line = f"{each['component']}: {height} x {width} px, {each['interpolation']} interpolation, {normalised}"
    mark = ", random weights" if each["random_weights"] else ""
    return [line + mark, *(f"{each['component']}: {note}" for note in each["notes"])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
