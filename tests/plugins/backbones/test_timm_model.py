from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from fusionkit.contracts.backbone import has_native_bfloat16
from fusionkit.errors import ConfigError, DataError, FusionKitError, PluginError
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit_backbones.hog import Hog
from fusionkit_backbones.random_features import RandomFeatures
from fusionkit_backbones.timm_model import TimmModel, _as_tokens, _grid
from fusionkit_backbones.tiny_mae import TinyMae

TINY = "test_vit"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def views_of(backbone: TimmModel, count: int = 4, seed: int = 0) -> np.ndarray:
    shape = (count, *backbone.input_size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def seeded(name: str, seed: int = 0, **options) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, **options).eval()


def by_hand(views: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(B, 3, H, W): scaled to 0..1, then (v - mean) / std, channel by channel."""
    scaled = views.astype(np.float64) / 255
    planes = [(scaled[..., c] - mean[c]) / std[c] for c in range(3)]
    return torch.from_numpy(np.stack(planes, 1).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        (TINY, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("test_efficientnet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_embedding_is_that_of_the_model_called_by_hand(name, mean, std):
    backbone = TimmModel(model=name)
    views = views_of(backbone)
    with torch.no_grad():
        expected = seeded(name, num_classes=0)(by_hand(views, mean, std)).numpy()
    assert backbone.mean == mean
    assert backbone.std == std
    np.testing.assert_allclose(backbone(views), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_embedding_is_what_a_full_model_hands_to_its_classifier():
    backbone = TimmModel(model=TINY, seed=3)
    full = seeded(TINY, seed=3)
    full.load_state_dict(backbone._model.state_dict(), strict=False)
    handed_over = []
    full.head.register_forward_pre_hook(lambda _, inputs: handed_over.append(inputs[0]))
    views = views_of(backbone)
    with torch.no_grad():
        full(by_hand(views, (0.5,) * 3, (0.5,) * 3))
    np.testing.assert_allclose(backbone(views), handed_over[0].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [TINY, "test_resnet", "test_convnext"])
def test_bfloat16_keeps_the_direction_of_the_embedding(name):
    if not has_native_bfloat16("cpu"):
        pytest.skip("this processor has no native bfloat16")
    backbone = TimmModel(model=name)
    views = views_of(backbone, 8)
    exact = backbone(views)
    assert backbone.precision("cpu") == "bfloat16"
    backbone.prepare("cpu", "bfloat16")
    rounded = backbone(views)
    cosine = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rounded, axis=1)
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    assert cosine.min() > 0.999


def test_float32_after_bfloat16_is_exact_again():
    backbone = TimmModel(model=TINY)
    views = views_of(backbone)
    backbone.prepare("cpu", "float32")
    before = backbone(views)
    backbone.prepare("cpu", "bfloat16")
    backbone.prepare("cpu", "float32")
    assert np.array_equal(backbone(views), before)


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "expected"), [("avx512_bf16", "bfloat16"), ("amx_bf16", "bfloat16"), ("", "float32")])
def test_automatic_precision_follows_the_processor(monkeypatch, flag, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False, flag: True})
    assert TimmModel(model=TINY).precision("cpu") == expected
    assert TimmModel(model=TINY, precision="float32").precision("cpu") == "float32"
    assert TimmModel(model=TINY, precision="bfloat16").precision("cpu") == "bfloat16"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_native_bfloat16_on_graphics_cards_starts_at_compute_capability_8(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_native_bfloat16("cuda:0") is expected


@pytest.mark.parametrize("options", TimmModel.examples)
def test_row_does_not_depend_on_the_others(options):
    backbone = TimmModel(**options)
    views = views_of(backbone, 4)
    others = views_of(backbone, 4, seed=1)
    others[2] = views[2]
    assert backbone(views)[2].tobytes() == backbone(others)[2].tobytes()


def test_views_may_be_read_only():
    backbone = TimmModel(model=TINY)
    views = views_of(backbone)
    expected = backbone(views)
    views.flags.writeable = False
    assert np.array_equal(backbone(views), expected)


@pytest.mark.slow
def test_random_weights_follow_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = TimmModel(model=TINY)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    views = views_of(first)
    assert np.array_equal(TimmModel(model=TINY, seed=0)(views), first(views))
    assert not np.allclose(TimmModel(model=TINY, seed=1)(views), first(views))


def test_size_pool_and_interpolation_reach_the_contract():
    backbone = TimmModel(model=TINY, size=96, pool="avg")
    assert backbone.input_size == (96, 96)
    assert backbone.interpolation == "cubic"
    assert TimmModel(model="test_resnet").interpolation == "linear"
    assert TimmModel(model="test_resnet", pool="catavgmax").dim == 2 * TimmModel(model="test_resnet").dim
    model = seeded(TINY, num_classes=0, global_pool="avg", img_size=96)
    views = views_of(backbone)
    with torch.no_grad():
        expected = model(by_hand(views, (0.5,) * 3, (0.5,) * 3)).numpy()
    np.testing.assert_allclose(backbone(views), expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_a_transformer_leave_out_its_class_token():
    backbone = TimmModel(model=TINY)
    views = views_of(backbone, 2)
    with torch.no_grad():
        features = seeded(TINY, num_classes=0).forward_features(by_hand(views, (0.5,) * 3, (0.5,) * 3)).numpy()
    np.testing.assert_allclose(backbone.tokens(views), features[:, 1:], rtol=1e-4, atol=1e-4)
    assert backbone(views, tokens=4).shape == (2, 4, backbone.dim)


def test_prefix_tokens_are_counted_where_the_family_does_not_say():
    silent = torch.nn.Module()
    assert _as_tokens(torch.zeros(1, 49, 8), silent).shape == (1, 49, 8)
    silent.cls_token4 = torch.nn.Parameter(torch.zeros(1, 1, 8))
    assert _as_tokens(torch.zeros(1, 50, 8), silent).shape == (1, 49, 8)
    silent.num_prefix_tokens = 5
    assert _as_tokens(torch.zeros(1, 54, 8), silent).shape == (1, 49, 8)


def test_tokens_of_maps_with_channels_last_run_along_the_rows():
    model = torch.nn.Module()
    model.output_fmt = "NHWC"
    maps = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert torch.equal(_as_tokens(maps, model)[1, 4 * 2 + 1], maps[1, 2, 1])


def test_tokens_of_a_conv_net_run_along_the_rows_of_its_map():
    backbone = TimmModel(model="test_resnet", size=96)
    views = views_of(backbone, 2)
    with torch.no_grad():
        maps = seeded("test_resnet", num_classes=0).forward_features(by_hand(views, backbone.mean, backbone.std))
    tokens = backbone.tokens(views)
    assert tokens.shape == (2, 9, backbone.dim)
    for row in range(3):
        for column in range(3):
            np.testing.assert_allclose(tokens[:, 3 * row + column], maps[:, :, row, column], rtol=1e-4, atol=1e-4)


def test_the_grid_of_tokens_is_that_of_patches_or_of_the_last_map():
    transformer, net = TimmModel(model=TINY), TimmModel(model="test_resnet", size=96)
    side = transformer.input_size[0] // 16
    assert transformer.token_grid == (side, side)
    assert net.token_grid == (3, 3)
    views = views_of(net, 2)
    np.testing.assert_array_equal(net(views, "map"), net.tokens(views).reshape(2, 3, 3, -1))
    assert TimmModel(model="mobilenetv3_small_050", size=64).token_grid is None


def test_maps_with_channels_last_have_their_own_grid():
    model = torch.nn.Module()
    assert _grid(torch.zeros(1, 12, 8), model, 8) is None
    assert _grid(torch.zeros(1, 3, 8, 8), model, 8) is None
    model.output_fmt = "NHWC"
    assert _grid(torch.zeros(1, 3, 4, 8), model, 8) == (3, 4)
    model.patch_embed = torch.nn.Module()
    model.patch_embed.grid_size = (3, 4)
    assert _grid(torch.zeros(1, 12, 8), model, 8) == (3, 4)
    assert _grid(torch.zeros(1, 13, 8), model, 8) is None


def test_model_whose_features_are_no_tokens_says_so():
    backbone = TimmModel(model="mobilenetv3_small_050", size=64)
    with pytest.raises(PluginError) as error:
        backbone.tokens(views_of(backbone, 1))
    assert str(error.value).startswith(
        "timm: model mobilenetv3_small_050 has no tokens of width D=1024: its features are (1, 288, 2, 2)"
    )


def test_cost_of_a_transformer_counts_its_attention():
    backbone = TimmModel(model=TINY)
    parameters, gflop = backbone.cost()
    blocks, width, tokens, patches = 6, 64, 101, 100
    block = backbone._model.blocks[0]
    linear = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, torch.nn.Linear))
    per_block = 2 * tokens * linear + 2 * (2 * tokens * tokens * width)  # the projections; scores and their sums
    embedding = 2 * patches * backbone._model.patch_embed.proj.weight.numel()
    assert len(backbone._model.blocks) == blocks
    assert gflop == pytest.approx((blocks * per_block + embedding) / 1e9, rel=1e-9)
    assert parameters == sum(value.size for value in map(np.asarray, backbone._model.state_dict().values()))


def test_cost_stays_the_same_in_another_precision():
    backbone = TimmModel(model=TINY)
    before = backbone.cost()
    backbone.prepare("cpu", "bfloat16")
    assert backbone.cost() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vit_tinny_patch16_224"}, "timm: unknown model 'vit_tinny_patch16_224' (did you mean 'vit_tiny_"),
        ({"model": "hf-hub:timm/x"}, "timm: unknown model 'hf-hub:timm/x'"),
        ({"model": f"{TINY}.best"}, "Invalid pretrained tag (best) for test_vit. (available tags: test_vit.r160_in1k"),
        ({"model": TINY, "pretrained": "yes"}, "option pretrained = 'yes' must be bool"),
        ({"model": TINY, "precision": "half"}, "option precision = 'half' must be one of: auto, float32, bfloat16"),
        ({"model": TINY, "size": "96"}, "option size = '96' must be int"),
        ({"model": TINY, "seed": -1}, "option seed = -1 must be at least 0"),
        ({"model": TINY, "weights": "best"}, "option weights = 'best' must be 'ema' | 'raw' | null"),
        ({"model": TINY, "weights": "raw"}, "timm: option weights = 'raw' has no effect without checkpoint"),
        ({"model": TINY, "mean": [0.5, 0.5]}, "option mean = [0.5, 0.5] must be "),
        ({"model": TINY, "mean": [123.675, 116.28, 103.53]}, "option mean = [123.675, 116.28, 103.53] must be "),
        ({"model": TINY, "std": [0.2, 0.2, 0]}, "option std = [0.2, 0.2, 0] must be "),
        ({"model": TINY, "interpolation": "bicubic"}, "option interpolation = 'bicubic' must be 'nearest' | "),
        ({"model": TINY, "size": 3}, "timm: model test_vit cannot embed views of 3 x 3 pixels: "),
        ({"model": TINY, "pool": "best"}, "timm: model test_vit cannot be built with pretrained=False, pool='best', "),
        ({"model": TINY, "pool": ""}, "timm: model test_vit with pool='' gives (1, 101, 64), not (1, D)"),
        ({"model": TINY, "checkpoint": "no/such.pth"}, "checkpoint no/such.pth is not a file"),
        (
            {"model": TINY, "pretrained": True, "checkpoint": "w.pth"},
            "timm: options pretrained = true and checkpoint exclude",
        ),
        ({"model": "test_vit_relpos", "pretrained": True}, "timm: no pretrained weights were published for test_vit_"),
    ],
)
def test_wrong_option_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError) as error:
        BACKBONES.build(Spec("timm", options))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def empty_hub(monkeypatch, tmp_path):
    """A hub cache without files, behind which there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize("offline", [False, True])
def test_pretrained_without_network_fails_soon_in_one_line(empty_hub, monkeypatch, caplog, offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(FusionKitError) as error:
        TimmModel(model=TINY, pretrained=True)
    assert waited == [], "it was tried again"
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("timm: the pretrained weights of test_vit are not in the local cache")
    assert error.value.hint == "give checkpoint=FILE with local weights"
    assert not caplog.records  # no retries were announced


def test_pretrained_takes_cached_weights_without_network(empty_hub):
    trained = seeded(TINY, seed=9)
    repository = Path(empty_hub) / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    save_file(trained.state_dict(), repository / "snapshots" / ("a" * 40) / "model.safetensors")
    backbone = TimmModel(model=TINY, pretrained=True)
    weights = backbone._model.state_dict()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in weights.items())
    assert set(trained.state_dict()) - set(weights) == {"head.weight", "head.bias"}


def test_pretrained_whose_download_breaks_off_is_a_data_error(monkeypatch):
    def broken(*args, **options):
        raise OSError("connection reset\nby peer")

    monkeypatch.setattr("fusionkit_backbones.timm_model._hub_failure", lambda: "")
    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(DataError) as error:
        TimmModel(model=TINY, pretrained=True)
    assert "\n" not in str(error.value)
    assert "connection reset" in str(error.value)


def test_checkpoint_gives_the_embedding_of_its_weights(tmp_path):
    trained = seeded(TINY, seed=4)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    backbone = TimmModel(model=TINY, checkpoint=str(tmp_path / "w.safetensors"))
    views = views_of(backbone)
    trained.reset_classifier(0)
    with torch.no_grad():
        expected = trained(by_hand(views, (0.5,) * 3, (0.5,) * 3)).numpy()
    np.testing.assert_allclose(backbone(views), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(TimmModel(model=TINY)(views), expected, rtol=1e-2)


def test_checkpoint_for_another_size_is_refused_unless_a_size_is_given(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(seeded(TINY, img_size=96).state_dict(), path)
    with pytest.raises(DataError) as error:
        TimmModel(model=TINY, checkpoint=str(path))
    assert "1 misshaped: pos_embed (1, 37, 64) instead of (1, 101, 64)" in str(error.value)
    assert error.value.hint == "pos_embed is of 6 x 6 patches, the model's of 10 x 10; size=160 resamples it"
    assert TimmModel(model=TINY, checkpoint=str(path), size=96).notes() == ()


@pytest.mark.parametrize("size", [96, 160, 208])
def test_position_embeddings_are_resampled_to_a_given_size(tmp_path, size):
    trained = seeded(TINY, img_size=128)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    backbone = TimmModel(model=TINY, checkpoint=str(tmp_path / "w.safetensors"), size=size)
    own = trained.pos_embed.detach()
    grid = own[:, 1:].reshape(1, 8, 8, 64).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (size // 16, size // 16), mode="bicubic", antialias=True)
    expected = torch.cat([own[:, :1], grid.flatten(2).transpose(1, 2)], 1)
    torch.testing.assert_close(backbone._model.pos_embed, expected)
    shape = f"(1, {1 + (size // 16) ** 2}, 64)"
    assert backbone.notes() == (f"w.safetensors: resampled as in timm: pos_embed (1, 65, 64) to {shape}",)


@pytest.mark.slow
def test_positions_that_timm_does_not_resample_are_refused(tmp_path):
    trained = seeded("cait_xxs24_224", img_size=64)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match="4 x 4 patches, the model's of 2 x 2; timm cannot resample it"):
        TimmModel(model="cait_xxs24_224", checkpoint=str(tmp_path / "w.safetensors"), size=32)


def test_moving_average_is_the_default_of_a_training_file(tmp_path):
    raw, averaged = seeded(TINY, seed=1).state_dict(), seeded(TINY, seed=2).state_dict()
    torch.save({"state_dict": raw, "state_dict_ema": averaged}, tmp_path / "w.pth")
    for options, state in (({}, averaged), ({"weights": "ema"}, averaged), ({"weights": "raw"}, raw)):
        backbone = TimmModel(model=TINY, checkpoint=str(tmp_path / "w.pth"), **options)
        assert torch.equal(backbone._model.pos_embed, state["pos_embed"])
        assert "state_dict, state_dict_ema" in backbone.notes()[0]


def test_preparation_of_images_is_an_option(tmp_path):
    trained = seeded(TINY, seed=4, num_classes=0)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    options = {"model": TINY, "checkpoint": str(tmp_path / "w.safetensors"), "mean": mean, "std": std}
    backbone = BACKBONES.build(Spec("timm", {**options, "interpolation": "area"}))
    views = views_of(backbone)
    with torch.no_grad():
        expected = trained(by_hand(views, mean, std)).numpy()
    assert (backbone.mean, backbone.std, backbone.interpolation) == (tuple(mean), tuple(std), "area")
    np.testing.assert_allclose(backbone(views), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "area", "lanczos"])
def test_given_preparation_is_in_the_file_of_a_training(tmp_path, interpolation):
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": interpolation}
    backbone = TimmModel(model="test_resnet", size=32, **given)
    (tmp_path / "w.safetensors").write_bytes(backbone.export(backbone.trainable(0.0, 0), {}))
    back = TimmModel(checkpoint=str(tmp_path / "w.safetensors"))
    assert (back.mean, back.std, back.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), interpolation)
    assert TimmModel(checkpoint=str(tmp_path / "w.safetensors"), mean=[0.5] * 3).mean == (0.5, 0.5, 0.5)


def masked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The class token of a masked autoencoder has no position."""
    positions = state["pos_embed"].clone()
    positions[:, 0] = 0
    return {**state, "pos_embed": positions}


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["decoder", "blank class position", "name of the file", "none"])
def test_masked_autoencoder_with_the_normalisation_of_another_training_gets_a_hint(tmp_path, sign):
    state = seeded(TINY, seed=4, num_classes=0).state_dict()
    path = str(tmp_path / ("MAE-vit_96.pth" if sign == "name of the file" else "maestro.pth"))
    if sign == "decoder":
        state |= {"mask_token": torch.zeros(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    torch.save({"model": masked(state) if sign == "blank class position" else state}, path)
    hints = [note for note in TimmModel(TINY, checkpoint=path).notes() if "ImageNet" in note]
    assert len(hints) == (sign != "none")
    assert all("[0.5, 0.5, 0.5]" in hint and "mean=[0.485,0.456,0.406]" in hint for hint in hints)
    given = TimmModel(TINY, checkpoint=path, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]).notes()
    assert not any("ImageNet" in note for note in given)
    if sign == "decoder":
        name = path.rpartition("/")[2]
        assert given == (f"{name}: ignored beside the encoder: decoder_blocks (1), mask_token (1)",)


def test_masked_autoencoder_of_a_model_with_that_normalisation_gets_no_hint(tmp_path):
    model = "vit_tiny_patch16_224"
    assert TimmModel(model, size=32).mean == (0.5, 0.5, 0.5)
    path = tmp_path / "mae.safetensors"
    save_file(seeded("test_efficientnet").state_dict(), path)
    assert TimmModel("test_efficientnet", checkpoint=str(path)).notes() == ()


def test_random_weights_are_marked(tmp_path, empty_hub):
    save_file(seeded(TINY).state_dict(), tmp_path / "w.safetensors")
    assert TimmModel(TINY).random_weights
    assert not TimmModel(TINY, checkpoint=str(tmp_path / "w.safetensors")).random_weights
    assert RandomFeatures().random_weights
    assert not Hog().random_weights
    assert not TinyMae().random_weights


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Published weights of the tiny model without its last norm, which timm is made to accept as it does of others."""
    create = timm.create_model
    monkeypatch.setattr("fusionkit_backbones.timm_model.weight_source", lambda *_: {"file": str(tmp_path / "w.pth")})
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, pretrained_strict=False, **options))
    return tmp_path / "w.pth"


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_published_weights_that_leave_a_layer_untrained_are_marked(published, pool, caplog):
    torch.save(seeded(TINY, seed=4).state_dict(), published)
    backbone = TimmModel(TINY, pretrained=True, pool=pool)
    untrained = pool == "avg"  # its norm behind the pooling is not that of the file
    assert backbone.random_weights == untrained
    assert any("fc_norm (2)" in note for note in backbone.notes()) == untrained
    assert not [record for record in caplog.records if "Missing" in record.getMessage()]


def test_published_weights_that_are_not_finite_are_refused(published):
    state = seeded(TINY, seed=4).state_dict()
    state["norm.bias"][0] = float("nan")
    torch.save(state, published)
    with pytest.raises(DataError, match=r"pretrained weights of test_vit: NaN or infinite values in norm\.bias"):
        TimmModel(TINY, pretrained=True)


@pytest.mark.slow
def test_import_is_light():
    code = "import sys, fusionkit_backbones.timm_model; print(sorted({'torch', 'timm'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
