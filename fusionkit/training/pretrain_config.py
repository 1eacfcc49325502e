"""Config of a pre-training: raw values are checked, all problems are reported at once, and the result is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fusionkit.config.resolver import Resolver, listed
from fusionkit.config.section import Section
from fusionkit.contracts.option_types import Count, Natural, NonNegative, Positive, Probability, Range
from fusionkit.storage.identity import digest
from fusionkit.training.encoder import EncoderOptions
from fusionkit.training.images import data_problems
from fusionkit.training.processes import RunSection

Share = Annotated[float, Range(above=0, below=1)]


@dataclass(frozen=True)
class DecoderOptions(Section):
    """The decoder, which is discarded after pre-training.

    Args:
        width: of its tokens; a multiple of 4 and of ``heads``.
        depth: number of blocks.
        heads: attention heads.
    """

    width: Count = 512
    depth: Count = 8
    heads: Count = 16

    def clashes(self) -> list[str]:
        """List options that do not go together."""
        if self.width % 4 or self.width % self.heads:
            # Sin-cos positions need four parts of equal width.
            return [f"option width = {self.width} must be a multiple of 4 and of heads = {self.heads}"]
        return []


@dataclass(frozen=True)
class PretrainRecipe(Section):
    """Training recipe (optimiser, epochs, loss) of the masked autoencoder.

    Args:
        mask_ratio: share of masked patches.
        normalize_targets: normalise each target patch by its own mean and standard deviation.
        epochs: passes over the images.
        warmup_epochs: epochs of linear warm-up, fewer than ``epochs``.
        batch_size: images per step, over all processes and micro-batches.
        base_lr: learning rate for 256 images per step; the peak is proportional to ``batch_size``.
        min_lr: learning rate at the end of the cosine.
        weight_decay: decoupled; not applied to biases, norms and other vectors.
        beta1: of AdamW.
        beta2: of AdamW.
        crop: minimum share of an image's area that a random crop keeps.
        flip: probability of mirroring an image.
        precision: ``bfloat16``, ``float32``, or ``auto``: bfloat16 on cards with native bfloat16.

    Reference:
        He et al., arXiv:2111.06377, tables 8 and 9. AdamW: Loshchilov and Hutter, ICLR 2019. Linear scaling of learning
        rates: Goyal et al., arXiv:1706.02677.
    """

    mask_ratio: Share = 0.75
    normalize_targets: bool = True
    epochs: Count = 800
    warmup_epochs: Natural = 40
    batch_size: Count = 4096
    base_lr: Positive = 1.5e-4
    min_lr: NonNegative = 0.0
    weight_decay: NonNegative = 0.05
    beta1: Share = 0.9
    beta2: Share = 0.95
    crop: Annotated[float, Range(above=0, most=1)] = 0.2
    flip: Probability = 0.5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @property
    def lr(self) -> float:
        """The peak learning rate."""
        return self.base_lr * self.batch_size / 256

    def clashes(self) -> list[str]:
        """List options that do not go together."""
        found = []
        if self.warmup_epochs >= self.epochs:
            found.append(f"option warmup_epochs = {self.warmup_epochs} must be below epochs = {self.epochs}")
        if self.min_lr > self.lr:
            found.append(f"option min_lr = {self.min_lr!r} must not exceed the peak learning rate, {self.lr:g}")
        return found


@dataclass(frozen=True)
class PretrainRunSection(RunSection):
    """Execution options, see the base class.

    Args:
        faces: number of faces drawn as masked, reconstructed and original.
        pictures: about how often they are drawn in a run; 0: never.
    """

    faces: Count = 6
    pictures: Natural = 8


SECTIONS: dict[str, type[Section]] = {
    "encoder": EncoderOptions,
    "decoder": DecoderOptions,
    "recipe": PretrainRecipe,
    "run": PretrainRunSection,
}


@dataclass(frozen=True)
class PretrainConfig:
    """A checked pre-training run.

    Attributes:
        name: of the run.
        data: data sets (``name:key=value``) or paths.
        split: ``train``, or ``all`` for the frames of every split.
        limit: about so many frames per split of each data set; None: all.
        stride: take every ``stride``-th frame of a video.
        seed: of weights, order, crops and masks.
    """

    name: str
    data: tuple[str, ...]
    split: str
    limit: int | None
    stride: int
    encoder: EncoderOptions
    decoder: DecoderOptions
    recipe: PretrainRecipe
    run: PretrainRunSection
    seed: int

    def describe(self) -> dict[str, Any]:
        """Return what decides the results, as plain data: everything except the ``run`` section."""
        return {
            "data": list(self.data),
            "split": self.split,
            "limit": self.limit,
            "stride": self.stride,
            "encoder": self.encoder.describe(),
            "decoder": self.decoder.describe(),
            "recipe": self.recipe.describe(),
            "seed": self.seed,
        }

    def digest(self) -> str:
        """Return the hash of the description (16 hex digits)."""
        return digest(self.describe())


def resolve_pretrain(raw: Mapping[str, Any], name: str) -> PretrainConfig:
    """Check raw config values and freeze them.

    Args:
        raw: keys of a pre-training config.
        name: name of the run.

    Raises:
        ConfigError: with every problem; nothing has run.
    """
    resolver = Resolver(raw, "pretrain")
    sections: dict[str, Any] = {key: resolver.section(key, cls) for key, cls in SECTIONS.items()}
    data = tuple(map(str, listed(resolver.raw["data"])))
    resolver.add("data", (line for source in data for line in data_problems(source)))
    if not data:
        resolver.add("data", ["no source given; give a data set or a path (--data)"])
    split = resolver.option("split", Literal["train", "all"])
    limit = resolver.option("limit", Count | None)
    stride = resolver.option("stride", Count)
    seed = resolver.option("seed", Natural)
    resolver.raise_problems()
    return PretrainConfig(name=name, data=data, split=split, limit=limit, stride=stride, seed=seed, **sections)
