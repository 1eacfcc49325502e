"""Checks of installed components and of downloaded weights."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.doctor.environment import Finding, shortened
from fusionkit.errors import FusionKitError, expanded
from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin
from fusionkit.registry.options import options_of

_SHOWN_MODELS = 5


def plugins() -> Iterator[Finding]:
    """Import every component; yield a finding per distribution, and per component that is broken or needs a file."""
    working: dict[str, Counter[str]] = {}
    incomplete: list[Finding] = []
    for kind, registry in REGISTRIES.items():
        for name, origins in registry.origins().items():
            try:
                cls = registry.get(name)
            except FusionKitError as error:
                incomplete.append(_broken(registry, name, origins, error))
                continue
            working.setdefault(origins[0].provider, Counter())[kind] += 1
            incomplete += _required_files(f"{registry.kind} {name}", name, cls)
    for distribution, counts in sorted(working.items()):
        value = ", ".join(f"{kind}: {counts[kind]}" for kind in REGISTRIES if counts[kind])
        yield Finding("plugins", distribution, value)
    if not working:
        yield Finding("plugins", "components", "none found", "broken", "install fusionkit: pip install -e .")
    yield from incomplete


def weights() -> Iterator[Finding]:
    """List the pretrained weights in the caches of the libraries that fusionkit loads them with."""
    for cache in _weight_caches():
        found = sorted({cache.model_name(path) for path in cache.folder.glob(cache.pattern)})
        more = f" and {len(found) - _SHOWN_MODELS} more" if len(found) > _SHOWN_MODELS else ""
        if found:
            value = f"{', '.join(found[:_SHOWN_MODELS])}{more} in {shortened(cache.folder)}: {cache.usage}"
            yield Finding("weights", cache.library, value)
        elif cache.advice:
            yield Finding("weights", cache.library, f"none in {shortened(cache.folder)}", "absent", cache.advice)


def _broken(registry: ComponentRegistry, name: str, origins: list[Origin], error: FusionKitError) -> Finding:
    distributions = sorted({origin.distribution.partition(" ")[0] for origin in origins} - {""})
    repair = f"report it to its authors, or pip uninstall {distributions[-1]}" if distributions else ""
    message = Exception.__str__(error)
    return Finding("plugins", f"{registry.kind} {name}", message, "broken", error.hint or repair)


def _required_files(title: str, name: str, cls: type[Any]) -> Iterator[Finding]:
    for option in options_of(cls).values():
        if option.required and option.name in cls.files:
            advice = f"pass it as {name}:{option.name}=FILE; see fusionkit info {name}"
            yield Finding("plugins", title, f"requires a file: {option.name}", "absent", advice)


@dataclass(frozen=True)
class _WeightCache:
    """A folder in which a library caches weights.

    Attributes:
        library: name of the library.
        folder: path of the cache.
        pattern: glob of the models in it.
        model_name: from the path of a model to its name.
        usage: option that loads a cached model.
        advice: what to do where the cache is empty; empty if nothing is needed.
    """

    library: str
    folder: Path
    pattern: str
    model_name: Callable[[Path], str]
    usage: str
    advice: str


def _weight_caches() -> Iterator[_WeightCache]:
    cache = expanded(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub")
    packs = expanded("~/.insightface/models")
    yield _WeightCache(
        "Hugging Face hub",
        expanded(hub),
        "models--*",
        lambda path: path.name.removeprefix("models--").replace("--", "/"),
        "--backbone timm:model=NAME,pretrained=true",
        "timm:pretrained=true downloads weights on first use; without a network: timm:checkpoint=FILE",
    )
    yield _WeightCache(
        "torch hub",
        expanded(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints",
        "*.pth",
        lambda path: path.stem,
        "--backbone timm:model=NAME,pretrained=true",
        "",
    )
    yield _WeightCache(
        "insightface packs",
        packs,
        "**/*.onnx",
        lambda path: path.relative_to(packs).parts[0],
        "--extractor insightface:pack=NAME",
        "needed by the insightface extractor only, which downloads nothing unless asked: fusionkit info insightface",
    )
