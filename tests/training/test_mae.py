from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from tiny_training import patches_by_hand
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fusionkit.training.encoder import EncoderOptions, build_encoder
from fusionkit.training.mae import Decoder, MaskedAutoencoder, draw_order, initialize, sincos_positions

OPTIONS = EncoderOptions(model="vit_tiny_patch16_224", size=24, patch=4, width=32, depth=2, heads=4)
N = 36


def model_of(mask_ratio: float = 0.75, normalize: bool = True, seed: int = 0) -> MaskedAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(OPTIONS)
        model = MaskedAutoencoder(encoder, Decoder(encoder, 16, 1, 2), mask_ratio, normalize)
        initialize(model)
    return model.eval()


def pixels_of(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, 24, 24), dtype=np.uint8))


def orders(count: int = 3, seed: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw_order(N, np.random.default_rng([seed, image])) for image in range(count)]))


@pytest.mark.parametrize("normalize", [True, False])
def test_loss_is_the_mean_squared_error_on_masked_patches_alone(normalize: bool) -> None:
    model = model_of(normalize=normalize)
    pixels, order = pixels_of(), orders()
    predicted = np.random.default_rng(1).normal(size=(3, N, 48)).astype(np.float32)
    scaled = pixels.numpy().astype(np.float64) / 255
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        scaled[:, channel] = (scaled[:, channel] - mean) / std
    patches = patches_by_hand(scaled, 4)
    total, masked = 0.0, 0
    for image in range(3):
        visible = set(order[image, : N // 4].tolist())
        for patch in range(N):
            if patch in visible:
                continue
            target = patches[image, patch]
            if normalize:
                target = (target - target.mean()) / math.sqrt(target.var(ddof=1) + 1e-6)
            total += ((predicted[image, patch] - target) ** 2).mean()
            masked += 1
    assert masked == 3 * 27
    found = model.loss(torch.from_numpy(predicted), model.normalized(pixels), order)
    assert found.item() == pytest.approx(total / masked, rel=1e-5)


def test_perfect_predictions_are_drawn_as_the_image() -> None:
    model = model_of()
    images = model.normalized(pixels_of())
    expected = patches_by_hand(images.numpy(), 4)
    np.testing.assert_allclose(model.drawn(model.targets(images), images).numpy(), expected, atol=1e-4)


def test_patch_numbers_are_those_of_timms_patch_embedding() -> None:
    model = model_of()
    images = torch.zeros(1, 3, 24, 24)
    images[:, :, 8:12, 20:24] = 1  # row 2, column 5 of a grid of 6 by 6
    with torch.no_grad():
        embedded = model.encoder.patch_embed(images)[0]
    lit = (embedded - model.encoder.patch_embed.proj.bias).abs().sum(1) > 1e-6
    assert lit.nonzero().flatten().tolist() == [17]
    assert model.targets(images)[0].abs().sum(1).nonzero().flatten().tolist() == []  # flat patches have no contrast
    assert patches_by_hand(images.numpy(), 4)[0].sum(1).nonzero()[0].tolist() == [17]


def test_with_every_patch_visible_the_encoder_is_timms_own() -> None:
    model = model_of(mask_ratio=1e-9)
    images = model.normalized(pixels_of())
    with torch.no_grad():
        expected = model.encoder.forward_features(images)
        found = model.encode(images, torch.arange(N).expand(3, -1))
        order = orders()
        shuffled = model.encode(images, order)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for image in range(3):  # attention has no order: tokens come in the order of the argument
        torch.testing.assert_close(shuffled[image, 1:], expected[image, 1 + order[image]], rtol=1e-4, atol=1e-5)


def test_the_encoder_never_sees_masked_pixels() -> None:
    model = model_of()
    images, order = model.normalized(pixels_of()), orders()
    changed = images.clone()
    for image in range(3):
        for patch in order[image, 9:].tolist():
            row, column = divmod(patch, 6)
            changed[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 7.0
    with torch.no_grad():
        before, after = (model.encode(value, order[:, :9]) for value in (images, changed))
    assert torch.equal(before, after)
    assert before.shape == (3, 10, 32)
    changed[0] += 1
    with torch.no_grad():
        assert not torch.equal(model.encode(changed, order[:, :9])[0], before[0])


def test_predictions_are_in_the_order_of_the_image_for_every_order_of_the_visible() -> None:
    model = model_of()
    images, order = model.normalized(pixels_of()), orders()
    other = torch.cat([order[:, :9].flip(1), order[:, 9:].flip(1)], 1)  # the same patches visible
    with torch.no_grad():
        torch.testing.assert_close(model.predict(images, order), model.predict(images, other), rtol=1e-4, atol=1e-5)


def test_the_decoder_puts_each_token_where_its_patch_is() -> None:
    model = model_of()
    decoder, order = model.decoder, orders()
    seen = []
    decoder.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens = torch.randn(3, 10, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoder(tokens, order)
        embedded, whole = decoder.embed(tokens), seen[0] - decoder.positions
        for image in range(3):
            positions = order[image].tolist()
            for patch in range(N):
                rank = positions.index(patch)
                expected = embedded[image, 1 + rank] if rank < 9 else decoder.mask_token[0, 0]
                torch.testing.assert_close(whole[image, 1 + patch], expected, rtol=1e-5, atol=1e-6)


def encoder_flops(mask_ratio: float) -> int:
    model = model_of(mask_ratio)
    images, order = model.normalized(pixels_of(1)), orders(1)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.encode(images, order[:, : model.kept])
    return counter.get_total_flops()


def test_the_cost_of_the_encoder_falls_with_the_mask_ratio() -> None:
    def expected(tokens: int) -> int:
        linear = 2 * tokens * (4 + 8) * 32 * 32  # query, key, value, projection; the two layers of the MLP
        attention = 2 * 2 * tokens * tokens * 32
        return 2 * (linear + attention) + 2 * N * 48 * 32

    assert encoder_flops(0.75) == expected(10)
    assert encoder_flops(0.5) == expected(19)
    assert encoder_flops(0.75) < 0.3 * encoder_flops(1e-9)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    found = sincos_positions((2, 3), 8)[0].numpy()
    assert np.array_equal(found[0], np.zeros(8))
    for row in range(2):
        for column in range(3):
            waves = [1.0, 1 / 10000**0.5]
            expected = [f(p * wave) for f in (math.sin, math.cos) for p in (row, column) for wave in waves]
            np.testing.assert_allclose(found[1 + 3 * row + column], expected, atol=1e-6)


def test_weights_are_drawn_as_mae_does() -> None:
    model = model_of()
    for layer in (model.encoder.blocks[0].mlp.fc1, model.decoder.head):
        limit = math.sqrt(6 / sum(layer.weight.shape))
        assert layer.weight.abs().max().item() == pytest.approx(limit, rel=0.02)
        assert not layer.bias.any()
    limit = math.sqrt(6 / (32 + 48))
    assert model.encoder.patch_embed.proj.weight.abs().max().item() == pytest.approx(limit, rel=0.02)
    assert model.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.6)


def test_fixed_positions_are_not_trained_and_learned_ones_are() -> None:
    model = model_of()
    assert not model.encoder.pos_embed.requires_grad
    assert torch.equal(model.encoder.pos_embed, sincos_positions((6, 6), 32))
    learned = build_encoder(EncoderOptions(**{**OPTIONS.describe(), "positions": "learned"}))
    assert learned.pos_embed.requires_grad


def test_every_trained_weight_has_a_gradient() -> None:
    model = model_of()
    model(pixels_of(), orders()).backward()
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []


def test_an_encoder_without_a_position_for_the_class_token_works_too() -> None:
    encoder = timm.create_model(
        "vit_tiny_patch16_224", img_size=24, patch_size=4, embed_dim=32, depth=1, num_heads=2, no_embed_class=True
    )
    encoder.reset_classifier(0)
    model = MaskedAutoencoder(encoder, Decoder(encoder, 16, 1, 2)).eval()
    images = model.normalized(pixels_of())
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode(images, torch.arange(N).expand(3, -1)), encoder.forward_features(images), rtol=1e-4, atol=1e-5
        )
