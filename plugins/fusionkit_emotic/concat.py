"""The paper's concat fusion: attention whose key is generated from the concatenated views."""

from __future__ import annotations

from typing import Any, ClassVar

from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.attention_options import Attention, AttentionOptions
from fusionkit_emotic.key_generators import ConcatKey


class Concat(AttentionFusion):
    """Attention with a key from the concatenated views (the paper's released block).

    The auxiliary views ask, the main view answers, and the key is a linear layer on the concatenation of all projected
    views. With one auxiliary view, ``width=1024`` and the other defaults this is the authors' released block.

    The order of the auxiliary views says only which of the key's columns belong to which view: the same views in
    another order are the same family of functions.

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

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2; the block is that of the
    authors' release (https://github.com/hT-1893/ABAW_6th_EXPR).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"width": 8},
        {"width": 8, "attention": "both", "window": 2, "token_width": 2},
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
    ) -> None:
        super().__init__(
            in_dims, num_classes, AttentionOptions("concat", width, hidden, attention, window, token_width, init_scale)
        )
        self.key = ConcatKey(len(in_dims), width)
