"""Contract of a fusion: embeddings of a frame's views in, one joint embedding or logits out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts.component import Component
from fusionkit.contracts.inputs import WatchedTensors, asks_for, input_changed
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError, PluginError, cause_of, component_errors

Views = dict[str, Tensor]


@dataclass(frozen=True)
class FusionOutput:
    """Output of a fusion: an embedding, to which a linear head is added, or logits.

    Attributes:
        embedding: (B, out_dim), or None.
        logits: (B, C), or None; with only an embedding the base class computes them.
        view_logits: (B, C) of single views, for losses on them; or None.
    """

    embedding: Tensor | None = None
    logits: Tensor | None = None
    view_logits: Views | None = None


@dataclass(frozen=True)
class Windows:
    """The windows that the N frames of a batch are in, for a fusion over time.

    Attributes:
        index: (N,) int64 on the CPU, from 0 and ascending; frames with equal values are neighbours in one clip, in time
            order.
        number: (N,) int64 number of each frame in its clip, on the device of the views.
    """

    index: Tensor
    number: Tensor

    @classmethod
    def of_single_frames(cls, count: int, device: torch.device) -> Windows:
        """Return a window for each of some frames."""
        return cls(torch.arange(count), torch.zeros(count, dtype=torch.long, device=device))

    def places(self) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return window (N,) and position in it (N,) of each frame, and the shape (B, T) of the padded windows."""
        lengths = self.index.bincount()
        first = lengths.cumsum(0) - lengths
        position = torch.arange(len(self.index)) - first[self.index]
        device = self.number.device
        return self.index.to(device), position.to(device), (len(lengths), int(lengths.max()))


@dataclass(frozen=True)
class Batch:
    """The training frames of one step, for a loss that uses more than their labels.

    Attributes:
        views: of each view, as :meth:`Fusion.fuse` gets them, main view first.
        present: (B,) bool of each view.
        target: the labels, as the task has them: (B,) int64 in 0..C-1, or (B, K) float32 with NaN where there is none.
        clip: (B,) int64; equal for the frames of one clip.
        number: (B,) int64 number of each frame in its clip.
        row: (B,) int64 row of each frame in the table of the data set, the same in every epoch.
        epoch: number of the epoch, from 1.
    """

    views: Views
    present: Views
    target: Tensor
    clip: Tensor
    number: Tensor
    row: Tensor
    epoch: int


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of a fusion that are trained in their own way.

    Attributes:
        parameters: of the fusion; each is in one group at most.
        lr: factor on the learning rate of the recipe, > 0.
        weight_decay: in place of that of the recipe, >= 0; None: that of the recipe.
        first_epoch: first epoch in which they are trained, from 1; they are frozen before.
        last_epoch: last epoch in which they are trained; None: to the end.
    """

    parameters: Sequence[nn.Parameter]
    lr: float = 1.0
    weight_decay: float | None = None
    first_epoch: int = 1
    last_epoch: int | None = None

    def trained_in(self, epoch: int) -> bool:
        """Return whether the parameters are trained in an epoch, counted from 1."""
        return self.first_epoch <= epoch and (self.last_epoch is None or epoch <= self.last_epoch)

    def problem(self) -> str:
        """Return what is wrong with the values, or an empty text."""
        if not (math.isfinite(self.lr) and self.lr > 0):
            return f"lr = {self.lr!r} must be above 0"
        if self.weight_decay is not None and not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            return f"weight_decay = {self.weight_decay!r} must be at least 0"
        if self.first_epoch < 1 or (self.last_epoch is not None and self.last_epoch < self.first_epoch):
            return f"epochs {self.first_epoch} to {self.last_epoch} are none (first_epoch is at least 1)"
        return ""


def view_problem(cls: type, names: Iterable[str]) -> str:
    """Return why a class of a fusion refuses a number of views, or an empty text.

    Args:
        cls: a :class:`Fusion` or :class:`FittedFusion`.
        names: of the views.
    """
    names, least, most = list(names), cls.min_views, cls.max_views  # type: ignore[attr-defined]
    if least <= len(names) and (most is None or len(names) <= most):
        return ""
    takes = f"{least} to {most}" if most not in (None, least) else f"{least}{' or more' if most is None else ''}"
    return f"{cls.__name__} takes {takes} view{'' if takes == '1' else 's'}, not {len(names)} ({', '.join(names)})"


def _require_views(fusion: Fusion | FittedFusion) -> None:
    if problem := view_problem(type(fusion), fusion.in_dims):
        raise ConfigError(problem)


class Fusion(Component, nn.Module):
    """Fuses the views of a frame. It is trained together with the head behind it.

    Views come main first, then the auxiliary ones in canonical order. A row with a missing view holds that view's
    training mean (zero if features are standardised) and False in ``present``.

    Args:
        in_dims: width D_v of each view's embedding, main view first.
        num_classes: C.

    Raises:
        ConfigError: if it does not take this number of views.

    Attributes:
        min_views: least number of views that it takes; ``min_views = max_views = 2`` for a fusion of two views.
        max_views: largest number of views; None for any.
        needs: ``pooled`` for views (B, D_v); ``tokens`` for views (B, K, D_v) with K in ``token_count``; ``map`` for
            views (B, D_v, H, W), whose grid may differ from view to view; ``clip`` for views (B, T, D_v) of windows of
            T frames, see :class:`fusionkit.contracts.clip_fusion.ClipFusion`.
        exclusive: whether it needs classes that exclude each other, because it combines their probabilities.
        missing: ``masked`` if :meth:`fuse` reads ``present``, so that the values of a missing auxiliary view have no
            effect; ``imputed`` if it relies on the training mean.
        symmetric: True if swapping the contents of two auxiliary views of equal width never changes the result, False
            if it may, None if unknown. An option may set it for an instance.
        recipe: changes to the default training recipe (optimiser, epochs, loss). A config's recipe overrides them.
        token_count: K, for ``needs = 'tokens'``.
        window: number of neighbouring frames from which an output is computed: 1, unless it ``needs`` clips.
        causal: whether the output at a frame uses no later frame.
        criterion: (logits (B, C), target (B,)) to a scalar. The recipe sets it; default: cross-entropy.
    """

    kind: ClassVar[str] = "fusion"
    provided: ClassVar[tuple[str, ...]] = ("in_dims", "num_classes")
    min_views: ClassVar[int] = 1
    max_views: ClassVar[int | None] = None
    needs: ClassVar[Literal["pooled", "tokens", "map", "clip"]] = "pooled"
    exclusive: ClassVar[bool] = False
    missing: ClassVar[Literal["masked", "imputed"]] = "imputed"
    symmetric: bool | None = None
    recipe: ClassVar[dict[str, Any]] = {}
    token_count: int = 0
    window: int = 1
    causal: bool = True

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.in_dims = dict(in_dims)
        _require_views(self)
        self.num_classes = num_classes
        self.criterion: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
        self.head: nn.Module | None = None

    @property
    def main(self) -> str:
        """Name of the main view."""
        return next(iter(self.in_dims))

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Names of the auxiliary views, in canonical order; empty with a single view."""
        return tuple(self.in_dims)[1:]

    def fuse(self, views: Views, present: Views) -> Tensor | FusionOutput:
        """Fuse a batch.

        Args:
            views: (B, D_v) float of each view, (B, K, D_v) with ``needs = 'tokens'``, or (B, D_v, H, W) with
                ``needs = 'map'``; in the order of ``in_dims``. Do not write to them.
            present: (B,) bool of each view, in the same order. Do not write to them.

        Returns:
            (B, out_dim), to which a linear head is added; or a :class:`FusionOutput`.
        """
        raise NotImplementedError("fuse() is not written")

    def loss(self, output: FusionOutput, target: Any, /) -> Tensor:
        """Return the training loss, a scalar. Default: ``criterion`` on the logits.

        Args:
            output: of a batch, with logits.
            target: the labels, as in :class:`Batch`. An override that names this argument ``batch`` gets the whole
                :class:`Batch`.
        """
        assert output.logits is not None
        return self.criterion(output.logits, target)

    def after_backward(self) -> None:
        """Run between the backward pass and the optimiser's step. Default: do nothing."""

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Return the parameters with a learning rate, a weight decay or epochs of their own. Default: none.

        All other parameters, those of the head too, are trained as the recipe says.
        """
        return ()

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def attach_head(self) -> None:
        """Run :meth:`fuse` on two random rows, and add a linear head if it returns an embedding.

        Raises:
            PluginError: if :meth:`fuse` fails, changes its input, or returns a wrong type or shape; or ``window`` is no
                number of frames.
        """
        if type(self.window) is not int or self.window < 1:
            name = type(self).__name__
            raise PluginError(f"fusion {name}: window = {self.window!r} must be a whole number of frames, from 1 up")
        training = self.training
        self.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            views = {name: torch.randn(2, *self.trial_shape(), width) for name, width in self.in_dims.items()}
            present = {name: torch.ones(2, dtype=torch.bool) for name in views}
            output = self._fused(views, present, content=True)
        if output.logits is None and output.embedding is not None:
            self.head = nn.Linear(output.embedding.shape[1], self.num_classes)
        self.train(training)

    def forward(self, views: Views, present: Views | None = None, windows: Windows | None = None) -> FusionOutput:
        """Call :meth:`fuse`, check input and result, and apply the head, so that the output always has logits.

        Args:
            views: as for :meth:`fuse`, one for each of ``in_dims``, in any order; maps as (B, H, W, D_v).
            present: as for :meth:`fuse`; None: all views are present.
            windows: of the frames, for ``needs = 'clip'``; None: each frame alone.

        Raises:
            PluginError: if the views are not those of ``in_dims``, or anything fails inside, or changes the input; it
                names the fusion, the views and their shapes.
        """
        if present is None:
            first = next(iter(views.values()))
            present = dict.fromkeys(views, torch.ones(len(first), dtype=torch.bool, device=first.device))
        views, present = self._ordered(views, "views"), self._ordered(present, "presence")
        output = self._fused(views, present, windows)
        if output.logits is not None:
            return output
        if self.head is None:
            raise PluginError(
                f"fusion {type(self).__name__} gives an embedding and has no head yet", hint="call attach_head() first"
            )
        return replace(output, logits=self.head(output.embedding))

    def training_loss(self, output: FusionOutput, batch: Batch) -> Tensor:
        """Call :meth:`loss` with the batch, or with its labels alone, as its signature asks."""
        if not asks_for(type(self).loss, "batch"):
            return self.loss(output, batch.target)
        return self.loss(output, replace(batch, views=self.as_asked(batch.views)))

    def as_asked(self, views: Views) -> Views:
        """Return the views as :meth:`fuse` gets them: of maps (B, H, W, D_v), with the channels before the grid."""
        return {name: value.movedim(-1, 1) for name, value in views.items()} if self.needs == "map" else views

    def trial_shape(self) -> tuple[int, ...]:
        """Return the shape of the tokens of a view on trial: (), (K,), or a small grid (H, W) of a map."""
        return {"tokens": (self.token_count,), "map": (4, 3)}.get(self.needs, ())

    def all_parameter_groups(self) -> list[ParameterGroup]:
        """Return :meth:`parameter_groups`, and first, if there are any, a group of all other parameters.

        Raises:
            PluginError: if a group is wrong, or a parameter is in two groups or not one of the fusion.
        """
        groups = list(self.parameter_groups())
        names = {id(value): name for name, value in self.named_parameters()}
        where = f"fusion {type(self).__name__}: parameter_groups()"
        for number, group in enumerate(groups, start=1):
            if not isinstance(group, ParameterGroup):
                raise PluginError(f"{where} gave {type(group).__name__}, not a ParameterGroup")
            if problem := group.problem():
                raise PluginError(f"{where}: group {number}: {problem}")
            for value in group.parameters:
                if id(value) not in names:
                    raise PluginError(f"{where}: group {number} has a tensor that is no parameter of the fusion")
                if not names[id(value)]:
                    raise PluginError(f"{where}: group {number} has a parameter that is in another group, too")
                names[id(value)] = ""
        others = [value for value in self.parameters() if names[id(value)]]
        return [ParameterGroup(others), *groups] if others or not groups else groups

    def _ordered(self, given: Views, what: str) -> Views:
        if given.keys() != self.in_dims.keys():
            names, wanted = ", ".join(given), ", ".join(self.in_dims)
            raise PluginError(f"fusion {type(self).__name__} got {what} of {names or 'nothing'}; expected {wanted}")
        return {name: given[name] for name in self.in_dims}

    def fuse_rows(self, views: Views, present: Views, windows: Windows | None) -> Tensor | FusionOutput:
        """Call :meth:`fuse`; a fusion over time uses the windows of the frames, too."""
        return self.fuse(self.as_asked(views), present)

    def _fused(
        self, views: Views, present: Views, windows: Windows | None = None, *, content: bool = False
    ) -> FusionOutput:
        given = WatchedTensors(named_inputs(views, present), content=content)
        try:
            output = self.fuse_rows(dict(views), dict(present), windows)
        except component_errors() as error:
            raise PluginError(f"{self._on(views)} failed: {cause_of(error)}") from error
        if names := given.changed():
            raise input_changed(self._on(views), ", ".join(names))
        if isinstance(output, Tensor):
            output = FusionOutput(embedding=output)
        if not isinstance(output, FusionOutput):
            raise PluginError(f"{self._on(views)} gave {type(output).__name__}, not a tensor or a FusionOutput")
        rows = next(iter(views.values())).shape[0]  # not len(): an exported network keeps it free
        if output.logits is not None:
            self._expect(output.logits, (rows, self.num_classes), "logits", views)
        elif output.embedding is not None:
            self._expect(output.embedding, (rows, None), "an embedding", views)
        else:
            raise PluginError(f"{self._on(views)} gave neither an embedding nor logits")
        return output

    def _expect(self, value: Tensor, shape: tuple[int, int | None], what: str, views: Views) -> None:
        if not isinstance(value, Tensor):
            raise PluginError(f"{self._on(views)} gave {what} of type {type(value).__name__}, not a tensor")
        if value.ndim != 2 or value.shape[0] != shape[0] or shape[1] not in (None, value.shape[1]):
            wanted = f"({shape[0]}, {'out_dim' if shape[1] is None else shape[1]})"
            raise PluginError(f"{self._on(views)} gave {what} of shape {tuple(value.shape)}; expected {wanted}")

    def _on(self, views: Views) -> str:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.as_asked(views).items())
        return f"fusion {type(self).__name__} on views {shapes}"


def named_inputs(views: Views, present: Views) -> Views:
    """Return all tensors that a fusion gets, named for messages."""
    return {**views, **{f"presence of {name}": value for name, value in present.items()}}


class StackedFusion(Fusion):
    """Base of simple fusions: it stacks the views, and the plugin combines them.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: width to which every view is projected. Default: no projection, or to the largest width if widths differ.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count | None = None) -> None:
        super().__init__(in_dims, num_classes)
        widths = set(in_dims.values())
        self.width = width or max(widths)
        self.project = (
            nn.ModuleList([nn.Linear(dim, self.width) for dim in in_dims.values()])
            if width is not None or len(widths) > 1
            else None
        )

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Combine a batch.

        Args:
            views: (B, V, D), main view first.
            present: (B, V) bool.

        Returns:
            (B, out_dim).
        """
        raise NotImplementedError("combine() is not written")

    def fuse(self, views: Views, present: Views) -> Tensor | FusionOutput:
        """Project views if needed, stack them, and call :meth:`combine`."""
        values = [views[name] for name in self.in_dims]
        if self.project is not None:
            values = [layer(value) for layer, value in zip(self.project, values, strict=True)]
        return self.combine(torch.stack(values, 1), torch.stack([present[name] for name in self.in_dims], 1))


class FittedFusion(Component, ABC):
    """A fusion that is fitted like an estimator of scikit-learn instead of by gradient steps.

    Args:
        in_dims: width D_v of each view's embedding, main view first.
        num_classes: C.

    Raises:
        ConfigError: if it does not take this number of views.

    Attributes:
        min_views: least number of views that it takes.
        max_views: largest number of views; None for any.
        exclusive: it needs classes that exclude each other.
    """

    kind: ClassVar[str] = "fusion"
    provided: ClassVar[tuple[str, ...]] = ("in_dims", "num_classes")
    min_views: ClassVar[int] = 1
    max_views: ClassVar[int | None] = None
    exclusive: ClassVar[bool] = True

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        self.in_dims = dict(in_dims)
        _require_views(self)
        self.num_classes = num_classes

    @abstractmethod
    def fit(self, views: dict[str, np.ndarray], y: np.ndarray, groups: np.ndarray, seed: int) -> None:
        """Fit on the training frames. All arrays are read-only.

        Args:
            views: (N, D_v) float32 of each view; a missing view holds its training mean.
            y: (N,) int64 in 0..C-1.
            groups: (N,) str: the unit (subject or video) of each frame, for inner cross-validation by unit.
            seed: random seed.
        """

    @abstractmethod
    def predict_proba(self, views: dict[str, np.ndarray]) -> np.ndarray:
        """Return the class probabilities of frames: (N, C). The views are read-only."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Return the learned state as named arrays: a head is stored without pickle.

        It must be complete: an instance restored from it must predict the same bits, or the head fails.
        """

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Load the learned state from :meth:`state`."""

    def as_network(self) -> nn.Module:
        """Return the fitted fusion as a network that predicts the same, for ``fusionkit export``. Optional.

        Returns:
            A network on the CPU, for inference: a dict of (N, D_v) float32, by view, to (N, C) probabilities.

        Raises:
            PluginError: if the fusion has none: its cells cannot be exported.
        """
        raise PluginError(
            f"fusion {type(self).__name__} cannot be written as a network", hint="its class must implement as_network()"
        )
