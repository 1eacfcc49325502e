"""MAE-Face's files as they are published: 'model' and pickled options under 'args', with and without a decoder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, gelu, layer_norm

from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit.testing import check_backbone
from fusionkit_backbones.timm_model import TimmModel
from fusionkit_emotic.mae_face import MaeFace

SMALL = "test_vit"  # timm's smallest: the same layers in 64 channels
HEADS, PATCH, SIDE = 2, 16, 160
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blocks(stem: str, depth: int, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(depth):
        for part, (rows, columns) in {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (hidden, width),
            "mlp.fc2": (width, hidden),
        }.items():
            shapes |= {f"{stem}.{number}.{part}.weight": (rows, columns), f"{stem}.{number}.{part}.bias": (rows,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{stem}.{number}.{norm}.{what}": (width,) for what in ("weight", "bias")}
    return shapes


def published_shapes(width: int, depth: int, hidden: int, tokens: int, *, decoder: bool) -> dict[str, tuple[int, ...]]:
    """Every tensor of a file, by the names of the masked autoencoder's reference code."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (width,),
        **blocks("blocks", depth, width, hidden),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if decoder:
        shapes |= {
            "mask_token": (1, 1, 32),
            "decoder_pos_embed": (1, tokens, 32),
            "decoder_embed.weight": (32, width),
            "decoder_embed.bias": (32,),
            **blocks("decoder_blocks", 2, 32, 128),
            "decoder_norm.weight": (32,),
            "decoder_norm.bias": (32,),
            "decoder_pred.weight": (PATCH * PATCH * 3, 32),
            "decoder_pred.bias": (PATCH * PATCH * 3,),
        }
    return shapes


def published(*, decoder: bool = False, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = published_shapes(64, 6, 192, 1 + (SIDE // PATCH) ** 2, decoder=decoder)
    return {name: torch.randn(shape, generator=draw) * 0.1 for name, shape in shapes.items()}


def fine_tuned() -> dict[str, Tensor]:
    state = published(seed=4)
    state |= {"fc_norm.weight": state.pop("norm.weight"), "fc_norm.bias": state.pop("norm.bias")}
    return state | {"head.weight": torch.zeros(8, 64), "head.bias": torch.zeros(8)}


def saved(folder: Path, state: dict[str, Tensor], name: str = "mae_face.pth", **beside: Any) -> str:
    path = folder / name
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-4, model="vit", norm_pix=True), **beside}, path)
    return str(path)


def loaded(path: str, **options: Any) -> MaeFace:
    return MaeFace(path, model=SMALL, precision="float32", **options)


def faces(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def encoded(views: np.ndarray, state: dict[str, Tensor]) -> Tensor:
    """(B, 1 + K, 64): a vision transformer up to its last block, written out."""
    pixels = torch.from_numpy(((views / 255 - MEAN) / STD).astype(np.float32)).permute(0, 3, 1, 2)
    x = conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=PATCH)
    x = torch.cat([state["cls_token"].expand(len(x), 1, 64), x.flatten(2).transpose(1, 2)], 1) + state["pos_embed"]

    def normed(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (64,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for number in range(6):
        block = f"blocks.{number}"
        q, k, v = linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv").split(64, -1)
        attended = []
        for one in torch.arange(64).chunk(HEADS):
            scores = q[..., one] @ k[..., one].transpose(1, 2) / (64 / HEADS) ** 0.5
            attended.append(scores.softmax(-1) @ v[..., one])
        x = x + linear(torch.cat(attended, -1), f"{block}.attn.proj")
        x = x + linear(gelu(linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
    return x


def near(found: np.ndarray, expected: Tensor) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("decoder", [False, True])
def test_embedding_is_the_mean_of_the_patch_tokens_behind_the_copied_norm(tmp_path: Path, decoder: bool) -> None:
    state = published(decoder=decoder)
    mean = encoded(faces(), state)[:, 1:].mean(1)
    expected = layer_norm(mean, (64,), state["norm.weight"], state["norm.bias"], eps=1e-6)
    near(loaded(saved(tmp_path, state))(faces()), expected)


def test_fresh_norm_is_an_untrained_layer_norm(tmp_path: Path) -> None:
    state = published()
    mean = encoded(faces(), state)[:, 1:].mean(1)
    near(loaded(saved(tmp_path, state), fc_norm="fresh")(faces()), layer_norm(mean, (64,), eps=1e-6))


def test_class_token_is_normalised_by_the_norm_of_the_file(tmp_path: Path) -> None:
    state = published()
    expected = layer_norm(encoded(faces(), state)[:, 0], (64,), state["norm.weight"], state["norm.bias"], eps=1e-6)
    near(loaded(saved(tmp_path, state), pool="token")(faces()), expected)


@pytest.mark.parametrize("fc_norm", ["copy", "fresh"])
def test_fine_tuned_file_keeps_its_own_norm_and_loses_its_classifier(tmp_path: Path, fc_norm: str) -> None:
    state = fine_tuned()
    mean = encoded(faces(), state)[:, 1:].mean(1)
    expected = layer_norm(mean, (64,), state["fc_norm.weight"], state["fc_norm.bias"], eps=1e-6)
    backbone = loaded(saved(tmp_path, state, optimizer={"lr": 0.1}, epoch=14), fc_norm=fc_norm)
    near(backbone(faces()), expected)
    assert backbone.ignored == ("head.weight", "head.bias")


def test_options_of_preparation_reach_the_contract(tmp_path: Path) -> None:
    path = saved(tmp_path, published())
    assert (loaded(path).mean, loaded(path).std, loaded(path).interpolation) == (tuple(MEAN), tuple(STD), "linear")
    other = loaded(path, mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.3], interpolation="cubic")
    assert (other.mean, other.std, other.interpolation) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "cubic")
    assert not other.random_weights
    assert other.notes() == ()


def test_raw_weights_and_their_moving_average_are_options(tmp_path: Path) -> None:
    path, raw = saved(tmp_path, published(), model_ema=published(seed=9)), published()
    mean = encoded(faces(), raw)[:, 1:].mean(1)
    expected = layer_norm(mean, (64,), raw["norm.weight"], raw["norm.bias"], eps=1e-6)
    near(loaded(path, weights="raw")(faces()), expected)
    assert not np.allclose(loaded(path)(faces()), expected, rtol=1e-2)


def test_tokens_are_those_of_the_patches_row_by_row(tmp_path: Path) -> None:
    state = published()
    near(loaded(saved(tmp_path, state)).tokens(faces()), encoded(faces(), state)[:, 1:])


def test_what_is_ignored_is_known_by_name(tmp_path: Path) -> None:
    state = published(decoder=True)
    backbone = loaded(saved(tmp_path, state))
    assert set(backbone.ignored) == set(state) - set(published())
    assert backbone.weights() == (
        "a file of MAE-Face; ignored: decoder_blocks (24), decoder_embed (2), decoder_norm (2), decoder_pos_embed (1), "
        "decoder_pred (2), mask_token (1)"
    )
    assert loaded(saved(tmp_path, published(), "encoder.pth")).weights() == "a file of MAE-Face"


def test_names_and_shapes_of_the_published_size_are_those_of_the_default_model() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0, global_pool="avg")
    shapes = published_shapes(768, 12, 3072, 197, decoder=False)
    renamed = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: s for name, s in shapes.items()}
    assert renamed == {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_cost_and_precision_are_those_of_the_same_model_of_timm(tmp_path: Path) -> None:
    path, same = saved(tmp_path, published()), TimmModel(SMALL, pool="avg")
    backbone = MaeFace(path, model=SMALL)
    assert backbone.cost() == same.cost()
    assert backbone.precision("cpu") == same.precision("cpu")
    assert backbone.interpolation == "linear"


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    state = published(decoder=True)
    del state["blocks.3.attn.qkv.bias"], state["cls_token"]
    state |= {f"blocks.6.extra{number}": torch.zeros(1) for number in range(9)}
    state["pos_embed"] = torch.zeros(1, 197, 64)
    with pytest.raises(DataError) as error:
        loaded(saved(tmp_path, state))
    assert str(error.value) == (
        f"checkpoint {tmp_path}/mae_face.pth does not fit this VisionTransformer: "
        "2 missing: cls_token, blocks.3.attn.qkv.bias; 9 unexpected: blocks.6.extra0, blocks.6.extra1, "
        "blocks.6.extra2, blocks.6.extra3, blocks.6.extra4, blocks.6.extra5 and 3 more; "
        "1 misshaped: pos_embed (1, 197, 64) instead of (1, 101, 64) "
        "(pos_embed is of 14 x 14 patches, the model's of 10 x 10; size=160 resamples it)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"fc_norm": "fresh"}, {"pool": "token"}])
def test_it_keeps_the_contract_of_backbones(tmp_path: Path, options: dict[str, str]) -> None:
    given = {"checkpoint": saved(tmp_path, published()), "model": SMALL, **options}
    results = check_backbone(MaeFace, examples=[given])
    assert {each.check: each.message for each in results if each.outcome == "failed"} == {}
    assert sum(each.outcome == "passed" for each in results) > 14


def test_file_without_a_decoder_is_what_a_fine_tuning_of_timm_begins_with(tmp_path: Path) -> None:
    path = saved(tmp_path, published())
    begun, ours = TimmModel(SMALL, checkpoint=path, pool="avg")._model, loaded(path)._model
    assert begun.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in begun.state_dict().items())


class Opens:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("where", ["beside", "among the options", "among the weights", "in place of the options"])
def test_file_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, where: str) -> None:
    trace, path = tmp_path / "trace", tmp_path / "mae_face.pth"
    state: dict[str, Any] = published()
    args: Any = argparse.Namespace(lr=1e-4)
    if where == "among the options":
        args.output_dir = Opens(trace)
    elif where == "among the weights":
        state["norm.weight"] = Opens(trace)
    elif where == "in place of the options":
        args = Opens(trace)
    torch.save({"model": state, "args": args, "extra": Opens(trace) if where == "beside" else 1}, path)
    with pytest.raises(DataError) as error:
        loaded(str(path))
    assert str(error.value) == (
        f"checkpoint {path} holds Python objects (posix.system); unpickling could run code: refused "
        "(where you trust it, save its state dict alone as .safetensors)"
    )
    assert not trace.exists()


def test_options_class_is_accepted_while_the_file_is_read_only(tmp_path: Path) -> None:
    loaded(saved(tmp_path, published()))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    with pytest.raises(Exception, match="Namespace"):
        torch.load(tmp_path / "mae_face.pth", weights_only=True)


@pytest.mark.parametrize("kind", ["cut short", "empty", "a picture", "no state dict"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = Path(saved(tmp_path, published()))
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:-999])
    elif kind == "no state dict":
        torch.save({"model": {"epoch": 3}}, path)
    else:
        path.write_bytes(b"" if kind == "empty" else b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    with pytest.raises(DataError) as error:
        loaded(str(path))
    assert str(error.value).startswith(f"checkpoint {path} ")
    assert "\n" not in str(error.value)


def test_without_a_file_the_error_names_where_they_are_published() -> None:
    with pytest.raises(ConfigError, match="checkpoint is missing") as error:
        MaeFace()
    assert "github.com/FuxiVirtualHuman/MAE-Face" in str(error.value)
    assert "nothing is downloaded" in str(error.value)
    with pytest.raises(ConfigError, match=r"nowhere\.pth is not a file"):
        MaeFace("nowhere.pth", model=SMALL)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, published())
    norm, pool = BACKBONES.problems(Spec("mae-face", {"checkpoint": path, "fc_norm": "new", "pool": "max"}))
    assert "fc_norm = 'new'" in norm
    assert "copy, fresh" in norm
    assert "pool = 'max'" in pool
    assert "avg, token" in pool
    with pytest.raises(ConfigError, match=r"fc_norm = 'fresh' has no effect .* pool = 'token'"):
        loaded(path, fc_norm="fresh", pool="token")


def test_file_of_fusionkit_is_referred_to_timm(tmp_path: Path) -> None:
    header = (
        '{"format": 1, "model": "test_vit", "options": {}, "mean": [0,0,0], "std": [1,1,1], "interpolation": "bicubic"}'
    )
    save_file(published(), tmp_path / "encoder.safetensors", metadata={"fusionkit": header})
    with pytest.raises(ConfigError, match=r"timm:checkpoint=.*encoder\.safetensors"):
        loaded(str(tmp_path / "encoder.safetensors"))
