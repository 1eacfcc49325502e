"""The paper's updown-mean fusion: attention whose key goes up and down from the mean of the views."""

from __future__ import annotations

from typing import ClassVar

from fusionkit_emotic.key_generators import Combine
from fusionkit_emotic.updown_fusion import UpDownFusion


class UpDownMean(UpDownFusion):
    """Attention with a key projected up and down from the mean of the views.

    As ``mean``, but the key goes through a wider layer. The paper names this key without a definition that we know. Our
    reading is an inverted bottleneck, a projection up and one down again, on the mean of the views or around it.

    The order of the auxiliary views does not matter beyond each view's own layers.

    Reference: Nguyen et al. 2024, "Emotic Masked Autoencoder on Dual-views with Attention Fusion for Facial Expression
    Recognition" (https://arxiv.org/abs/2403.13039), figure 2.
    """

    name: ClassVar[str] = "updown-mean"
    combine: ClassVar[Combine] = "mean"
