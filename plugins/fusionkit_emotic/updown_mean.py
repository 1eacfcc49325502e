"""The paper's updown-mean fusion: attention whose key goes up and down from the mean of the views."""

from __future__ import annotations

from typing import Any, ClassVar

from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.attention_options import Attention, AttentionOptions
from fusionkit_emotic.key_generators import Scope, UpDownKey


class UpDownMean(AttentionFusion):
    """Attention with a key projected up and down from the mean of the views.

    As ``mean``, but the key goes through a wider layer. The paper names this key without a definition that we know. Our
    reading is an inverted bottleneck, a projection up and one down again, on the mean of the views or around it.

    The order of the auxiliary views does not matter beyond each view's own layers.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected. The authors' is 1024; at 256 the attention costs a sixteenth.
        hidden: width between the classifier's two layers, which have no activation between them; half of ``width``
            where it is not given, as the authors' 512.
        attention: ``self``: each token attends to all tokens, as in the release. ``local``: to the tokens of its own
            window, windows standing side by side; the paper names a local attention without a definition that we know,
            and this is our reading. ``both``: the mean of the two, each with its own projections.
        window: tokens in a window of the local attention; must divide ``width / token_width``.
        token_width: channels a token; must divide ``width``. The authors' tokens are single channels.
        init_scale: multiplies the query and key weights at initialisation. At 1, as released, the scores nearly agree
            and the attention starts close to one mean over all channels; larger values let it tell channels apart.
        ratio: how many times as wide as its input the up-projection is; 1 or more.
        activation: between up and down: ``gelu``, ``relu`` or ``none``, which leaves one linear map in two factors.
        scope: ``joint``: combine the views, go up, come down. ``per_view``: each view goes up by a layer of its own,
            combine, come down.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2, "scope": "per_view"},
    )

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 256,
        hidden: int | None = None,
        attention: Attention = "self",
        window: int = 16,
        token_width: int = 1,
        init_scale: float = 1.0,
        ratio: float = 2.0,
        activation: str = "gelu",
        scope: Scope = "joint",
    ) -> None:
        super().__init__(
            in_dims,
            num_classes,
            AttentionOptions("updown-mean", width, hidden, attention, window, token_width, init_scale),
        )
        self.key = UpDownKey("mean", len(in_dims), width, ratio, activation, scope)
