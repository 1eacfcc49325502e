"""What does masking save? Processor time of pre-training by the share of patches that the encoder does not see.

    python benchmarks/mask_ratio.py

The encoder of ``pretrain/mae_face_vitb`` (ViT-B/16 at 224 px) with its decoder, forward and backward on one thread, in
float32; ``none`` shows the encoder every patch. Ratios take turns, so that what neighbours do falls on all of them; the
least of the repeats counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from fusionkit.config.config_file import find_config, read_config
from fusionkit.training.mae import MaskedAutoencoder
from fusionkit.training.pretrain import build_model
from fusionkit.training.pretrain_config import resolve_pretrain

RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)


def encoder_step(model: MaskedAutoencoder, images: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Forward through the encoder alone."""
    return model.encode(images, order[:, : model.kept]).square().mean()


def whole_step(model: MaskedAutoencoder, images: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Forward through both; all predictions count here, so that a ratio of nothing can be measured too."""
    return model.predict(images, order).square().mean()


def seconds(work: Callable[[], torch.Tensor]) -> float:
    """Processor seconds of a step and its gradients."""
    started = time.process_time()
    work().backward()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="pretrain/mae_face_vitb")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    raw = {**read_config(find_config(given.config)), "data": ["synthetic"]}
    model = build_model(resolve_pretrain(raw, given.config))
    count, side = model.encoder.patch_embed.num_patches, model.encoder.patch_embed.img_size[0]
    images = torch.randn(given.batch, 3, side, side)
    order = torch.rand(given.batch, count).argsort(1)
    least: dict[tuple[str, float], float] = {}
    for _ in range(given.repeats):
        for ratio in RATIOS:
            model.kept = round(count * (1 - ratio))
            for name, step in (("encoder", encoder_step), ("both", whole_step)):
                took = seconds(partial(step, model, images, order))
                least[name, ratio] = min(took, least.get((name, ratio), took))
    print("| masked | patches seen | encoder | of `none` | encoder and decoder | of `none` |")
    print("|---|---|---|---|---|---|")
    for ratio in RATIOS:
        one, both = least["encoder", ratio], least["both", ratio]
        print(
            f"| {f'{ratio:.0%}' if ratio else 'none'} | {round(count * (1 - ratio))} | {one:.2f} s "
            f"| {one / least['encoder', 0.0]:.2f} | {both:.2f} s | {both / least['both', 0.0]:.2f} |"
        )


if __name__ == "__main__":
    main()
