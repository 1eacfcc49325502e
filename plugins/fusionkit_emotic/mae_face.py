"""The paper's backbone: MAE-Face, from the files that its authors publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fusionkit.contracts.backbone import Interpolation
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit_backbones.timm_model import Mean, Precision, Std, TimmModel, Weights

if TYPE_CHECKING:
    from torch import Tensor

PUBLISHED = "the releases of https://github.com/FuxiVirtualHuman/MAE-Face"
CLASSIFIER = "head."
# ImageNet's, as in the authors' code.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MaeFace(TimmModel):
    """MAE-Face: a ViT-B/16 that was pre-trained on faces as a masked autoencoder, the paper's backbone.

    It reads the files that the authors of MAE-Face publish, the encoder alone (``mae_face_pretrain_vit_base.pth``) or
    with its decoder (``mae_face_visualize_vit_base.pth``), and files fine-tuned from them in the same form. No code in
    a file is run: beside tensors and plain values, only the ``argparse.Namespace`` of training options is accepted.
    Nothing is downloaded.

    The embedding is the mean of the patch tokens after the last norm, ``fc_norm``, as in fine-tuning. A pre-trained
    file has no ``fc_norm``, but the norm before the pooling. Resizing views bilinearly is our reading.

    Args:
        checkpoint: the file; required. A decoder, mask token and classifier in it are ignored, and named in
            ``grid.json``.
        fc_norm: source of ``fc_norm`` where a file has ``norm`` alone. ``copy``: its weights. ``fresh``: an untrained
            layer norm (ones and zeros), as at the start of fine-tuning by the authors' code.
        pool: ``avg``: mean of the patch tokens. ``token``: the class token after ``norm``, which the authors of
            MAE-Face recommend for features that are used without fine-tuning.
        size: height and width in pixels of the views. Not given: 224, the model's own. If given, the position
            embeddings of the file are resampled to it, as in timm.
        weights: of a file with both, ``ema``: the exponential moving average of the weights; ``raw``: those of the last
            step. Not given: the average where there is one.
        mean: mean of each RGB channel, of values scaled to 0..1. Not given: ImageNet's, as in the authors' code.
        std: standard deviation of each RGB channel. Not given: ImageNet's.
        interpolation: of resizing views to ``size``.
        model: name of the architecture in timm; the default fits the published files.

    Raises:
        ConfigError: if no file is given, it does not exist, or options exclude each other.
        DataError: if the file is no such checkpoint, would run code, or does not fit: every name and shape at once.

    Reference:
        MAE-Face: https://github.com/FuxiVirtualHuman/MAE-Face. Its use here: Nguyen et al. 2024
        (https://arxiv.org/abs/2403.13039), and the authors' release (https://github.com/hT-1893/ABAW_6th_EXPR).
    """

    examples = ()  # there is none without a file
    loaded_by = "timm"  # a fine-tuned file is in the format of fusionkit

    def __init__(
        self,
        checkpoint: str | None = None,
        fc_norm: Literal["copy", "fresh"] = "copy",
        pool: Literal["avg", "token"] = "avg",
        size: Count | None = None,
        weights: Weights | None = None,
        mean: Mean = MEAN,
        std: Std = STD,
        interpolation: Interpolation = "linear",
        model: str = "vit_base_patch16_224",
        precision: Precision = "auto",
    ) -> None:
        if checkpoint is None:
            raise ConfigError(
                "mae-face: option checkpoint is missing",
                hint=f"checkpoint=FILE, of {PUBLISHED}: mae_face_pretrain_vit_base.pth; nothing is downloaded",
            )
        if problems := _problems(checkpoint, fc_norm, pool):
            raise ConfigError(problems)
        self.fc_norm = fc_norm
        self.ignored: tuple[str, ...] = ()
        super().__init__(
            model,
            checkpoint=checkpoint,
            weights=weights,
            pool=pool,
            size=size,
            mean=mean,
            std=std,
            interpolation=interpolation,
            precision=precision,
        )

    def weights(self) -> str:
        """Name the kind of file, and the tensors in it that were ignored: by name, with their number."""
        from fusionkit_backbones.checkpoint import counted

        return f"a file of MAE-Face{f'; ignored: {counted(self.ignored)}' if self.ignored else ''}"

    def _encoder_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        from fusionkit_backbones.checkpoint import MAE_DECODER

        self.ignored = tuple(name for name in state if name.startswith((*MAE_DECODER, CLASSIFIER)))
        kept = {name: value for name, value in state.items() if name not in self.ignored}
        return _with_fresh_norm(kept) if self.fc_norm == "fresh" else kept


def _with_fresh_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace ``norm`` by an untrained layer norm; a file that has its own ``fc_norm`` keeps it."""
    import torch

    fresh = {"norm.weight": torch.ones_like, "norm.bias": torch.zeros_like}
    return {name: fresh[name](value) if name in fresh else value for name, value in state.items()}


def _problems(checkpoint: str, fc_norm: str, pool: str) -> list[str]:
    from fusionkit_backbones.checkpoint import read_header

    found = []
    if pool == "token" and fc_norm == "fresh":
        found.append("mae-face: option fc_norm = 'fresh' has no effect with pool = 'token', which has a trained norm")
    if read_header(checkpoint) is not None:
        found.append(f"mae-face: {checkpoint} is a fusionkit checkpoint; load it with timm:checkpoint={checkpoint}")
    return found
