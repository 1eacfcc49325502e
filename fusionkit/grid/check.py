"""What only a plan can tell of a request: whether every fusion takes the views that it will get."""

from __future__ import annotations

from fusionkit.engine.embed import backbone_width
from fusionkit.engine.fit import needs_of
from fusionkit.errors import ConfigError
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.registry import BACKBONES, FUSIONS


def check_fusions(plan: Plan) -> None:
    """Build every fusion once for each set of widths, and see that there are tokens for those that need some.

    What a fusion refuses is a wrong request; any other failure is left to its cell, which will show it.

    Raises:
        ConfigError: with everything that a fusion refuses.
    """
    import torch

    problems: list[str] = []
    seen: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
    with torch.random.fork_rng(devices=[]):
        for head in plan.heads.values():
            problems += _without_tokens(head)
            widths = _widths(head)
            key = (str(head.fusion), tuple(widths.items()))
            if not widths or key in seen:
                continue
            seen.add(key)
            try:
                FUSIONS.build(head.fusion, in_dims=widths, num_classes=head.trial.task.num_classes)
            except ConfigError as error:
                problems += [f"fusions: {problem}" for problem in error.problems]
            except Exception:  # noqa: BLE001, S112  (a bug of the plugin, not of the request)
                continue
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _without_tokens(head: HeadWork) -> list[str]:
    """What is wrong where the fusion is one of tokens, and some view comes without."""
    if not needs_of(head.fusion):
        return []
    lacking = [
        f"backbone {embedding.backbone.name}" if embedding.backbone else f"the ready-made view {name}"
        for name, embedding in head.embeddings.items()
        if not (embedding.backbone and BACKBONES.get(embedding.backbone.name).gives_tokens())
    ]
    known = "fusionkit list backbones --long tells which have some"
    return [f"fusions: {head.fusion.name} needs tokens, and {what} has none ({known})" for what in lacking]


def _widths(head: HeadWork) -> dict[str, int]:
    """Width by view; empty where a view comes ready-made, so that its width is known only when it is read."""
    backbones = {name: embedding.backbone for name, embedding in head.embeddings.items()}
    return (
        {} if None in backbones.values() else {name: backbone_width(spec) for name, spec in backbones.items() if spec}
    )
