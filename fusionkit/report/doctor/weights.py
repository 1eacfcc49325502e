"""Weights of other libraries that are on this machine, in the places where these libraries keep them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fusionkit.report.doctor.finding import Finding
from fusionkit.report.doctor.places import short

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
