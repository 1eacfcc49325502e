"""Description of components without building them: for lists, ``fusionkit info`` and the tables of the docs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin, did_you_mean, find_components
from fusionkit.registry.options import Option, options_of
from fusionkit.testing.documentation import (
    docstring,
    explanations,
    is_fitted,
    reference_of,
    summary_of,
    without_args,
)

_SHAPES = {
    "dataset": "rows of a table to RGB uint8 (H, W, 3) or None; or stored embeddings, (n, D) per view",
    "extractor": "N frames, RGB uint8 (H, W, 3), to boxes (N, R, 5) in pixels and scores (N, R)",
    "backbone": "views, RGB uint8 (B, H, W, 3), to embeddings (B, D) float32",
    "fusion": "embeddings (B, D_v) per view to one (B, out_dim) with a linear head, or to logits (B, C)",
    "task": "outputs (B, O) and labels (N,) or (N, K) to a loss, predictions (n, O), and counts of each unit",
    "smoother": "a clip's (T, C) and frame numbers (T,) to probabilities (T, C)",
}
_TOKENS = "tokens (B, K, D_v) per view to one embedding (B, out_dim) with a linear head, or to logits (B, C)"
_MAP = "maps (B, D_v, H, W) per view to one embedding (B, out_dim) with a linear head, or to logits (B, C)"
_CLIP = "windows of a clip (B, T, D_v) per view to one embedding per frame (B, T, out_dim) or logits (B, T, C)"
_FITTED = "embeddings (N, D_v) per view to probabilities (N, C)"


@dataclass(frozen=True)
class Documented:
    """Description of a class with options, read from its docstring.

    Attributes:
        description: the docstring without the part on options.
        explained: option name to its explanation.
    """

    description: str
    options: tuple[Option, ...]
    explained: dict[str, str]


@dataclass(frozen=True)
class Entry(Documented):
    """Description of a component.

    Attributes:
        shapes: input and output.
        tags: properties such as ``masked`` or ``causal``, in the order of the kind.
        reference: source of the method.
    """

    kind: str
    name: str
    origin: Origin
    cls: type[Any]
    summary: str
    shapes: str
    tags: tuple[str, ...]
    reference: str


def entry(registry: ComponentRegistry, name: str) -> Entry:
    """Import a component and return its entry.

    Raises:
        ConfigError: if the component is unknown.
        PluginError: if it cannot be imported.
    """
    cls = registry.get(name)
    return Entry(
        kind=registry.kind,
        name=name,
        origin=registry.origins()[name][0],
        cls=cls,
        summary=summary_of(cls),
        description=without_args(docstring(cls)) or "no description",
        shapes=_shapes(registry.kind, cls),
        tags=tuple(_tags(cls)),
        reference=reference_of(cls),
        options=tuple(options_of(cls).values()),
        explained=explanations(cls),
    )


def entries(kind: str | None = None, pattern: str = "*", distribution: str = "") -> Iterator[Entry]:
    """Yield the entries of the components that :func:`fusionkit.registry.find_components` finds."""
    for registry, name, _ in find_components(kind, pattern, distribution):
        yield entry(registry, name)


def entries_named(name: str) -> list[Entry]:
    """Return the entries of a name, or of ``kind/name``: one for each kind that has it.

    Raises:
        ConfigError: if no component has the name.
        PluginError: if the component cannot be imported.
    """
    kind, _, bare = name.rpartition("/")
    found = [
        entry(registry, bare)
        for key, registry in REGISTRIES.items()
        if kind in ("", key, registry.kind) and bare in registry.names()
    ]
    if not found:
        known = sorted({known for registry in REGISTRIES.values() for known in registry.names()})
        raise ConfigError(f"unknown component {name!r}{did_you_mean(bare, known)}", hint="fusionkit list")
    return found


def documented(cls: type) -> Documented:
    """Describe a class with options that is no component, such as a training recipe."""
    return Documented(without_args(inspect.getdoc(cls) or ""), tuple(options_of(cls).values()), explanations(cls))


def markdown(found: Sequence[Entry]) -> str:
    """Return a heading and a table for each kind."""
    parts = []
    for key, registry in REGISTRIES.items():
        rows = [each for each in found if each.kind == registry.kind]
        if rows:
            parts += [
                f"## {key.capitalize()}\n",
                "| name | summary | tags | options | reference |",
                "|---|---|---|---|---|",
            ]
            parts += [_row(each) for each in rows]
            parts.append("")
    return "\n".join(parts)


def _row(each: Entry) -> str:
    options = ", ".join(f"`{option.name}`" for option in each.options)
    cells = (f"`{each.name}`", each.summary, ", ".join(each.tags), options, each.reference)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _shapes(kind: str, cls: type[Any]) -> str:
    if kind != "fusion":
        return _SHAPES[kind]
    if is_fitted(cls):
        return _FITTED
    return {"tokens": _TOKENS, "map": _MAP, "clip": _CLIP}.get(cls.needs, _SHAPES[kind])


def _tags(cls: type[Any]) -> Iterator[str]:
    if cls.kind == "fusion" and is_fitted(cls):
        yield "fitted"
    elif cls.kind == "fusion":
        yield cls.missing
        yield from (
            [{"tokens": "tokens", "map": "maps", "clip": "over time"}[cls.needs]] if cls.needs != "pooled" else []
        )
        yield from ["own recipe"] if cls.recipe else []
    elif cls.kind == "backbone":
        yield from ["tokens"] if cls.gives_tokens() else []
        yield from ["maps"] if cls.gives_maps() else []
    elif cls.kind == "smoother":
        yield f"of {cls.needs}"
        yield from [word for word in ("causal", "fitted", "hard") if getattr(cls, word)]
        yield from [f"{option}=auto" for option in cls.auto]
    elif cls.kind == "task":
        yield f"scored by {cls.metric_name}"
        yield from [word for word in ("exclusive", "discrete") if getattr(cls, word)]
    yield from [f"{option} is a {kind}" for option, kind in cls.nested.items()]
    yield from [f"{option} not in identity" for option in cls.places]
