"""The components that are installed, each of them imported, and those that cannot be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.doctor.environment import Finding, short
from fusionkit.errors import FusionKitError
from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin
from fusionkit.registry.options import options_of


def plugins() -> Iterator[Finding]:
    """A line a distribution with what it brings; a line for each component that is broken or wants a file."""
    working: dict[str, Counter[str]] = {}
    rest: list[Finding] = []
    for kind, registry in REGISTRIES.items():
        for name, origins in registry.origins().items():
            try:
                cls = registry.get(name)
            except FusionKitError as error:
                rest.append(_broken(registry, name, origins, error))
                continue
            working.setdefault(origins[0].brought_by, Counter())[kind] += 1
            rest += _wants_a_file(f"{registry.kind} {name}", name, cls)
    for distribution, counts in sorted(working.items()):
        value = ", ".join(f"{kind}: {counts[kind]}" for kind in REGISTRIES if counts[kind])
        yield Finding("plugins", distribution, value)
    if not working:
        yield Finding("plugins", "components", "none found", "broken", "install fusionkit: pip install -e .")
    yield from rest


def _broken(registry: ComponentRegistry, name: str, origins: list[Origin], error: FusionKitError) -> Finding:
    brought = sorted({origin.distribution.partition(" ")[0] for origin in origins} - {""})
    repair = f"ask its authors, or pip uninstall {brought[-1]}" if brought else ""
    message = Exception.__str__(error)
    return Finding("plugins", f"{registry.kind} {name}", message, "broken", error.hint or repair)


def _wants_a_file(title: str, name: str, cls: type[Any]) -> Iterator[Finding]:
    """Weights have no place of their own: whoever uses such a component names the file."""
    for option in options_of(cls).values():
        if option.required and option.name in cls.files:
            advice = f"give it as {name}:{option.name}=FILE; fusionkit info {name} says which"
            yield Finding("plugins", title, f"works with a file of yours: {option.name}", "absent", advice)


_SHOWN = 5


@dataclass(frozen=True)
class Shelf:
    """A folder in which a library keeps weights.

    Attributes:
        name: of the library.
        folder: where.
        pattern: of one model in it.
        named: a model's name, from the path.
        use: how a component is given one.
        advice: how one gets there, where there is none; empty where nobody needs one.
    """

    name: str
    folder: Path
    pattern: str
    named: Callable[[Path], str]
    use: str
    advice: str


def weights() -> Iterator[Finding]:
    """What lies on each shelf; nothing is asked of any server."""
    for shelf in _shelves():
        found = sorted({shelf.named(path) for path in shelf.folder.glob(shelf.pattern)})
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        if found:
            value = f"{', '.join(found[:_SHOWN])}{more} in {short(shelf.folder)}: {shelf.use}"
            yield Finding("weights", shelf.name, value)
        elif shelf.advice:
            yield Finding("weights", shelf.name, f"none in {short(shelf.folder)}", "absent", shelf.advice)


def _shelves() -> Iterator[Shelf]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or cache / "huggingface") / "hub")
    yield Shelf(
        "Hugging Face hub",
        hub.expanduser(),
        "models--*",
        lambda path: path.name.removeprefix("models--").replace("--", "/"),
        "--backbone timm:model=NAME,pretrained=true",
        "timm:pretrained=true fetches what it needs; without a network: timm:checkpoint=FILE",
    )
    yield Shelf(
        "torch hub",
        Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser() / "hub" / "checkpoints",
        "*.pth",
        lambda path: path.stem,
        "--backbone timm:model=NAME,pretrained=true",
        "",
    )
    yield Shelf(
        "insightface packs",
        Path("~/.insightface/models").expanduser(),
        "**/*.onnx",
        lambda path: path.relative_to(Path("~/.insightface/models").expanduser()).parts[0],
        "--extractor insightface:pack=NAME",
        "only the insightface extractor needs one, and fetches none unasked: fusionkit info insightface",
    )
