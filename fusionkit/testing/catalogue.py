"""What there is to know of a component without building it: for lists, for ``fusionkit info``, for the docs' tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin
from fusionkit.registry.options import Option, options_of
from fusionkit.testing.documentation import docstring, explanations, reference_of, summary_of, without_args

_SHAPES = {
    "dataset": "rows of a table to RGB uint8 (H, W, 3) or None; or ready embeddings, (n, D) a view",
    "extractor": "N frames, RGB uint8 (H, W, 3), to boxes (N, R, 5) in pixels and scores (N, R)",
    "backbone": "views, RGB uint8 (B, H, W, 3), to embeddings (B, D) float32",
    "fusion": "embeddings (B, D_v) a view to one (B, out_dim) with a linear head, or to logits (B, C)",
    "smoother": "a clip's (T, C) and frame numbers (T,) to probabilities (T, C)",
}
_TOKENS = "tokens (B, K, D_v) a view to one embedding (B, out_dim) with a linear head, or to logits (B, C)"
_FITTED = "embeddings (N, D_v) a view to probabilities (N, C)"


@dataclass(frozen=True)
class Entry:
    """A component as it describes itself.

    Attributes:
        shapes: what goes in and what comes out.
        tags: what it declares, ``masked``, ``causal``, ...; in the order of its kind.
        description: the docstring, less what it says of the options.
        reference: where the method comes from.
        explained: what an option is, by its name.
    """

    kind: str
    name: str
    origin: Origin
    cls: type[Any]
    summary: str
    description: str
    shapes: str
    tags: tuple[str, ...]
    reference: str
    options: tuple[Option, ...]
    explained: dict[str, str]


def entry(registry: ComponentRegistry, name: str) -> Entry:
    """The entry of a component, which is imported.

    Raises:
        ConfigError: if there is no such component.
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
    """All entries of a kind (plural), or of every kind, whose name fits and that a distribution brings, where given."""
    for key, registry in REGISTRIES.items():
        for name, origins in registry.origins().items() if kind in (None, key) else ():
            brought = distribution in ("", origins[0].distribution.partition(" ")[0])
            if brought and fnmatch(name, pattern):
                yield entry(registry, name)


def markdown(found: list[Entry]) -> str:
    """A heading and a table a kind."""
    parts = []
    for key, registry in REGISTRIES.items():
        rows = [each for each in found if each.kind == registry.kind]
        if rows:
            parts += [
                f"## {key.capitalize()}\n",
                "| name | what it is | tags | options | reference |",
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
    if hasattr(cls, "predict_proba"):
        return _FITTED
    return _TOKENS if cls.needs == "tokens" else _SHAPES[kind]


def _tags(cls: type[Any]) -> Iterator[str]:
    if cls.kind == "fusion" and hasattr(cls, "predict_proba"):
        yield "fitted"
    elif cls.kind == "fusion":
        yield cls.missing
        yield from ["tokens"] if cls.needs == "tokens" else []
        yield from ["own recipe"] if cls.recipe else []
    elif cls.kind == "backbone":
        yield from ["tokens"] if cls.gives_tokens() else []
    elif cls.kind == "smoother":
        yield f"of {cls.needs}"
        yield from [word for word in ("causal", "fitted", "hard") if getattr(cls, word)]
        yield from [f"{option}=auto" for option in cls.auto]
    yield from [f"{option} is a {kind}" for option, kind in cls.nested.items()]
    yield from [f"{option} says where" for option in cls.places]
