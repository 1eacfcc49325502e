"""The paper's backbone: MAE-Face, from the files that its authors publish."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionkit.errors import ConfigError
from fusionkit_backbones.timm_model import TimmModel

if TYPE_CHECKING:
    from torch import Tensor, nn

PUBLISHED = "the releases of https://github.com/FuxiVirtualHuman/MAE-Face"
# What training leaves in a file beside the encoder: the other half of the masked autoencoder, and a classifier.
DECODER, CLASSIFIER = ("decoder_", "mask_token"), "head."


class MaeFace(TimmModel):
    """MAE-Face: a ViT-B/16 that was pre-trained on faces as a masked autoencoder, the paper's backbone.

    It reads what the authors of MAE-Face publish, the encoder alone (``mae_face_pretrain_vit_base.pth``) or with its
    decoder (``mae_face_visualize_vit_base.pth``), and what was fine-tuned from them in the same form. No code in a file
    is run: beside tensors and plain values, only the ``argparse.Namespace`` of training options is let in. Nothing is
    downloaded.

    The embedding is the mean of the patch tokens behind the last norm, ``fc_norm``, as in fine-tuning. A pre-trained
    file has no ``fc_norm``, but the norm that stood before the pooling. Views are scaled by ImageNet's mean and
    standard deviation; that they are resized bilinearly is our reading.

    Args:
        checkpoint: the file. A decoder, mask token and classifier in it are ignored, and named in ``grid.json``.
        fc_norm: what serves where a file has ``norm`` alone: ``copy`` takes its weights, ``fresh`` is a layer norm as
            fine-tuning by the authors' code starts with, ones and zeros.
        pool: ``avg``, or ``token``: the class token behind ``norm``, which the authors of MAE-Face recommend for
            features that are used without fine-tuning.
        model: name of the architecture in timm; the published files are of the default.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 where the hardware has it natively.

    Raises:
        ConfigError: if no file is given or there is none, or an option is wrong.
        DataError: if the file is no such checkpoint, would run code, or does not fit: every name and shape at once.

    Reference:
        MAE-Face: https://github.com/FuxiVirtualHuman/MAE-Face. Its use here: Nguyen et al. 2024
        (https://arxiv.org/abs/2403.13039), and the authors' release (https://github.com/hT-1893/ABAW_6th_EXPR).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is none without a file

    def __init__(
        self,
        checkpoint: str | None = None,
        fc_norm: Literal["copy", "fresh"] = "copy",
        pool: Literal["avg", "token"] = "avg",
        model: str = "vit_base_patch16_224",
        precision: str = "auto",
    ) -> None:
        if checkpoint is None:
            raise ConfigError(
                "mae-face: no checkpoint is given",
                hint=f"checkpoint=FILE, of {PUBLISHED}: mae_face_pretrain_vit_base.pth; nothing is downloaded",
            )
        if problems := _problems(checkpoint, fc_norm, pool):
            raise ConfigError(problems)
        self.fc_norm = fc_norm
        self.ignored: tuple[str, ...] = ()
        super().__init__(model, checkpoint=checkpoint, pool=pool, precision=precision)
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        self.mean, self.std, self.interpolation = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, "linear"

    def weights(self) -> str:
        """That the file is of MAE-Face's form, and which of its tensors were left aside: by name, with their number."""
        parts = Counter(name.partition(".")[0] for name in self.ignored)
        listed = ", ".join(f"{part} ({count})" for part, count in sorted(parts.items()))
        return f"a file of MAE-Face{f'; ignored: {listed}' if listed else ''}"

    def _load(self, model: nn.Module, path: str) -> None:
        from fusionkit_backbones.checkpoint import fit_weights, read_weights

        state = read_weights(path)
        self.ignored = tuple(name for name in state if name.startswith((*DECODER, CLASSIFIER)))
        kept = {name: value for name, value in state.items() if name not in self.ignored}
        if self.fc_norm == "fresh":
            kept = _with_fresh_norm(kept)
        fit_weights(model, kept, path)


def _with_fresh_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``norm`` as a layer norm that was never trained; a file that brings its own ``fc_norm`` keeps that."""
    import torch

    fresh = {"norm.weight": torch.ones_like, "norm.bias": torch.zeros_like}
    return {name: fresh[name](value) if name in fresh else value for name, value in state.items()}


def _problems(checkpoint: str, fc_norm: Any, pool: Any) -> list[str]:
    from fusionkit_backbones.encoder_header import read_header

    found = []
    if fc_norm not in ("copy", "fresh"):
        found.append(f"mae-face: fc_norm={fc_norm!r} is neither copy nor fresh")
    if pool not in ("avg", "token"):
        found.append(f"mae-face: pool={pool!r} is neither avg nor token")
    if pool == "token" and fc_norm == "fresh":
        found.append("mae-face: fc_norm=fresh has no effect with pool=token, which has its own trained norm")
    if read_header(checkpoint) is not None:
        found.append(f"mae-face: fusionkit wrote {checkpoint}, in a form of its own: take timm:checkpoint={checkpoint}")
    return found
