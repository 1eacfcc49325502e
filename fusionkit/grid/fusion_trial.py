"""Trial of a plan's fusions before anything runs: whether each takes its views, and can be built and trained here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from fusionkit.contracts.fusion import view_problem
from fusionkit.engine import fit
from fusionkit.engine.embed import Embedding, backbone_fact
from fusionkit.errors import ConfigError, component_errors, out_of_memory
from fusionkit.grid.memory import GIB, set_ceiling, share
from fusionkit.registry import BACKBONES, FUSIONS
from fusionkit.registry.spec import Spec

_MOST_TENSORS = 10_000  # learned tensors of a fusion; known ones have tens
_COPIES = 4  # of a learned tensor while it is trained: values, gradient, both moments of Adam
_LARGE = 2**14  # values; drawing those of thousands of fusions would take long
_GPU = Path("/dev/nvidiactl")  # its driver takes address space that a ceiling counts


def fusion_problems(wanted: Iterable[tuple[Spec, dict[str, Embedding], int]]) -> list[str]:
    """List the problems of fusions, each once. A fusion is built once for each set of widths.

    Problems are: views that it does not take, what it refuses by a ConfigError, and more memory than the machine has.
    Any other failure will be that of its cells.

    Args:
        wanted: fusions, each with the embeddings of its views by name, and the number of classes.
    """
    import torch

    problems: list[str] = []
    ceiling = None if _GPU.exists() else share(1)
    seen: set[tuple[str, tuple[str, ...], tuple[int | None, ...]]] = set()
    with torch.random.fork_rng(devices=[]):
        for fusion, embeddings, classes in wanted:
            # The width of a ready view is known only when the view is read.
            widths = {name: item.width for name, item in embeddings.items()}
            key = (str(fusion), tuple(widths), tuple(widths.values()))
            if key in seen:
                continue
            seen.add(key)
            if problem := view_problem(FUSIONS.get(fusion.name), widths):
                problems.append(problem)
                continue
            problems += _without_places(fusion, embeddings)
            if None not in widths.values():
                problems += _building_problems(fusion, widths, classes, ceiling)
    return list(dict.fromkeys(problems))


def _without_places(fusion: Spec, embeddings: dict[str, Embedding]) -> list[str]:
    """Problems of a fusion of tokens or maps where a view has none."""
    needed = fit.tokens_needed(fusion)
    if not needed:
        return []
    needs, gives = ("maps", _gives_maps) if needed == "map" else ("tokens", _gives_tokens)
    lacking = [
        f"backbone {item.backbone.name}" if item.backbone else f"the ready-made view {name}"
        for name, item in embeddings.items()
        if not (item.backbone and gives(item.backbone))
    ]
    known = f"`fusionkit list backbones --long` shows which have {needs}"
    return [f"{fusion.name} needs {needs}, and {what} has none ({known})" for what in lacking]


def _gives_tokens(backbone: Spec) -> bool:
    return bool(BACKBONES.get(backbone.name).gives_tokens())


def _gives_maps(backbone: Spec) -> bool:
    return backbone_fact(backbone, lambda built: built.token_grid is not None)


def _building_problems(fusion: Spec, widths: dict[str, Any], classes: int, ceiling: float | None) -> list[str]:
    try:
        with _limited(ceiling):
            FUSIONS.build(fusion, in_dims=widths, num_classes=classes)
    except _TooLargeError as error:
        return [f"fusion {fusion} {error}"]
    except ConfigError as error:
        return error.problems
    except component_errors() as error:
        if out_of_memory(error.__cause__ or error):
            free = psutil.virtual_memory().total / GIB if ceiling is None else ceiling
            return [f"fusion {fusion} cannot be built in the {free:.0f} GiB of memory that are free"]
    return []  # a bug of the plugin, not of the request


class _TooLargeError(ConfigError):
    """A fusion is too large to be trained here."""


@contextmanager
def _limited(ceiling: float | None) -> Iterator[None]:
    """Limit what a module may register and allocate. Values of its large parameters are not drawn.

    Args:
        ceiling: GiB that it may allocate; None for no limit.

    Raises:
        _TooLargeError: for more parameters than can be trained.
    """
    from torch import Tensor, nn
    from torch.nn.modules.module import register_module_parameter_registration_hook
    from torch.overrides import TorchFunctionMode

    draws = {Tensor.uniform_, Tensor.normal_}
    tensors, needed, most = 0, 0, psutil.virtual_memory().total

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in draws and isinstance(args[0], nn.Parameter) and args[0].numel() > _LARGE:
                return args[0]
            return func(*args, **(kwargs or {}))

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, needed
        if parameter is None or nn.parameter.is_lazy(parameter):
            return
        tensors += 1
        needed += parameter.nbytes * (_COPIES if parameter.requires_grad else 1)
        if tensors > _MOST_TENSORS:
            raise _TooLargeError(f"has more than {_MOST_TENSORS:,} learned tensors; at most that many are trained")
        if needed > most:
            raise _TooLargeError(
                f"needs at least {needed / GIB:,.0f} GiB to be trained (parameters, gradients and moments of Adam), "
                f"above the {most / GIB:.0f} GiB of this machine"
            )

    hook = register_module_parameter_registration_hook(count)
    set_ceiling(ceiling)
    try:
        with Undrawn():
            yield
    finally:
        set_ceiling(None)
        hook.remove()
