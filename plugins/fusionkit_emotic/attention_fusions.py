"""The paper's attention block and its four fusions, which differ in how the attention key is generated."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from fusionkit.contracts.fusion import FusionOutput, Views
from fusionkit.contracts.option_types import Count, Positive, Range
from fusionkit.errors import ConfigError
from fusionkit_emotic.key_generators import Activation, Combine, ConcatKey, MeanKey, Scope, UpDownKey
from fusionkit_emotic.token_attention import TokenAttention
from fusionkit_fusions.masked_fusion import MaskedFusion, with_main


class AttentionFusion(MaskedFusion):
    """Base: auxiliary views give the queries, all views the key, the main view the values.

    With h_v = W_v x_v + b_v the projected views, and q, k, v, o the projections of the attention::

        key = generator(h_main, h_1, ..., h_A)
        A   = mean over the present auxiliary views a of  o(softmax(q(h_a) k(key)^T / sqrt(t)) v(h_main))
        z   = A + h_main
        y   = W4 (W3 z + b3) + b4

    The authors' release has one auxiliary view, tokens of width t = 1, a width of 1024 and the concatenation key.
    The rest is our reading: several auxiliary views share one attention, and their results are averaged. An absent
    auxiliary view gives no query and does not enter the key. A frame without auxiliary views gives z = h_main. A
    single view gives its own queries. An absent main view is replaced by its training mean.

    A subclass sets ``key``, a module of :mod:`fusionkit_emotic.key_generators`, after ``super().__init__``.

    Args:
        width: D, to which every view is projected. The authors use 1024. Over tokens of one channel the cost of the
            attention grows with D in training on a CPU, else with its square.
        hidden: width between the two layers of the classifier, which have no activation between them. Not given: half
            of ``width``, as the authors' 512.
        attention: ``self``: each token attends to all tokens, as in the release. ``local``: each token attends to the
            tokens of its own window, without overlap. The paper names a local attention but defines none; this is our
            reading. ``both``: the mean of the two, each with its own projections.
        window: tokens in a window of the local attention; must divide ``width / token_width``.
        token_width: t, channels in a token; must divide ``width``. The authors use 1.
        init_scale: factor on the query and key weights at initialisation. At 1, as released, all scores are nearly
            equal and the attention starts close to one mean over all channels; larger values separate the channels.

    Reference: Nguyen et al. 2024, https://arxiv.org/abs/2403.13039, figure 2.
    """

    examples = ({"width": 8}, {"width": 8, "attention": "both", "window": 2, "token_width": 2})
    revision = 2  # attention over single channels is interpolated on a CPU
    key: nn.Module

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count = 256,
        hidden: Count | None = None,
        attention: Literal["self", "local", "both"] = "self",
        window: Count = 16,
        token_width: Count = 1,
        init_scale: Positive = 1.0,
    ) -> None:
        super().__init__(in_dims, num_classes)
        name = f"fusion {type(self).__name__}"
        if width % token_width:
            raise ConfigError(f"{name}: option token_width = {token_width} must divide width = {width}")
        tokens = width // token_width
        if attention != "self" and tokens % window:
            raise ConfigError(
                f"{name}: option window = {window} must divide the {tokens} tokens of width = {width}, "
                f"token_width = {token_width}"
            )
        self.width = width
        self.project = self.linear_per_view(width)
        windows = {"self": [None], "local": [window], "both": [None, window]}[attention]
        self.attention = nn.ModuleList([TokenAttention(token_width, each, init_scale) for each in windows])
        between = hidden or max(1, width // 2)
        self.classifier = nn.Sequential(nn.Linear(width, between), nn.Linear(between, num_classes))

    def fuse(self, views: Views, present: Views) -> FusionOutput:
        """Return the logits (B, C) of views (B, D_v) with presence (B,) bool."""
        visible = with_main(self.flags(present))
        projected = torch.stack(self.each(self.project, views), 1).masked_fill(~visible[..., None], 0.0)
        main = projected[:, 0]
        queries, querying = (projected[:, 1:], visible[:, 1:]) if self.auxiliary else (projected, visible)
        key = self.key(projected, visible)
        attended = [attention(queries, key, main) for attention in self.attention]
        share = querying.to(main.dtype) / (len(attended) * querying.sum(1, keepdim=True).clamp(min=1))
        guidance = torch.einsum("bq,bqd->bd", share, sum(attended[1:], attended[0]))
        return FusionOutput(logits=self.classifier(main + guidance))


class Concat(AttentionFusion):
    """Attention with a key from the concatenated views (the paper's released block).

    The key is a linear layer on the concatenation of all projected views. With one auxiliary view, ``width=1024`` and
    the other defaults this is the authors' released block.

    Another order of the auxiliary views permutes columns of the key's weight; the family of functions is the same.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2; the block is that of the
    authors' release (https://github.com/hT-1893/ABAW_6th_EXPR).
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.key = ConcatKey(len(in_dims), self.width)


class Mean(AttentionFusion):
    """Attention whose key is the mean of the views (the paper's mean).

    The key is the mean of the projected views that are present. The paper names this key but gives no details: the
    bare mean is our reading, and ``linear`` is another.

    The order of the auxiliary views has no effect beyond each view's own projection.

    Args:
        linear: put a linear layer behind the mean, as the concat key has one.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    examples = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2, "linear": True},
    )

    def __init__(self, in_dims: dict[str, int], num_classes: int, linear: bool = False, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.key = MeanKey(self.width, linear)


class UpDownFusion(AttentionFusion):
    """Base: attention with a key projected up and down.

    Args:
        ratio: output width over input width of the up-projection.
        activation: between the two projections. ``none`` leaves one linear map in two factors.
        scope: ``joint``: combine the views, project up, project down. ``per_view``: project each view up by its own
            layer, combine, project down.

    Attributes:
        combine: how the views are combined.

    Reference: Nguyen et al. 2024, https://arxiv.org/abs/2403.13039, figure 2.
    """

    combine: ClassVar[Combine]
    examples = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2, "scope": "per_view"},
    )

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        ratio: Annotated[float, Range(least=1)] = 2.0,
        activation: Activation = "gelu",
        scope: Scope = "joint",
        **options: Any,
    ) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.key = UpDownKey(self.combine, len(in_dims), self.width, ratio, activation, scope)


class UpDownConcat(UpDownFusion):
    """Attention with a key projected up and down from the concatenated views.

    As ``concat``, with a wider layer before the key. The paper names this key but does not define it. Our reading is
    an inverted bottleneck: a projection up and one down, on the concatenation or around it.

    Another order of the auxiliary views permutes columns of the key's weight; the family of functions is the same.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    combine = "concat"


class UpDownMean(UpDownFusion):
    """Attention with a key projected up and down from the mean of the views.

    As ``mean``, with a wider layer before the key. The paper names this key but does not define it. Our reading is an
    inverted bottleneck: a projection up and one down, on the mean of the views or around it.

    The order of the auxiliary views has no effect beyond each view's own layers.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    combine = "mean"
