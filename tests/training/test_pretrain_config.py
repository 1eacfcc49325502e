from __future__ import annotations

from typing import Any

import pytest

from fusionkit.config.config_file import find_config, read_config, shipped_names
from fusionkit.errors import ConfigError
from fusionkit.training.encoder import build_encoder
from fusionkit.training.pretrain_config import PretrainRecipe, resolve_pretrain


def shipped(name: str, **changes: Any):
    return resolve_pretrain({"data": "synthetic", **read_config(find_config(name)), **changes}, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped_names() if name.startswith("pretrain/")])
def test_shipped_configs_are_sound(name: str) -> None:
    config = shipped(name)
    assert config.recipe.epochs > config.recipe.warmup_epochs
    build_encoder(config.encoder)


@pytest.mark.slow
def test_the_published_setting_is_mae_on_vit_base() -> None:
    config = shipped("pretrain/mae_face_vitb")
    recipe = config.recipe
    assert recipe.lr == pytest.approx(0.0024)  # 1.5e-4 for 256 images, 4096 at once
    assert (recipe.beta1, recipe.beta2, recipe.weight_decay) == (0.9, 0.95, 0.05)
    assert (recipe.mask_ratio, recipe.epochs, recipe.crop) == (0.75, 800, 0.2)
    encoder = build_encoder(config.encoder)
    assert (len(encoder.blocks), encoder.embed_dim, encoder.pos_embed.shape) == (12, 768, (1, 197, 768))
    assert (config.decoder.width, config.decoder.depth) == (512, 8)


def test_the_peak_rate_grows_with_the_batch() -> None:
    assert PretrainRecipe(base_lr=1e-3, batch_size=64).lr == pytest.approx(2.5e-4)


def test_execution_options_do_not_change_the_identity() -> None:
    plain = shipped("pretrain/tiny")
    assert shipped("pretrain/tiny", run={"accumulation": 4, "workers": 1}).digest() == plain.digest()
    for change in ({"seed": 1}, {"split": "all"}, {"recipe": {"epochs": 9, "warmup_epochs": 1}}, {"stride": 2}):
        assert shipped("pretrain/tiny", **change).digest() != plain.digest()


def test_every_problem_is_named_at_once() -> None:
    raw = {
        "data": ["syntetic", "nowhere/at/all"],
        "split": "test",
        "stride": 0,
        "seed": -1,
        "limit": "many",
        "encoder": {"modell": "vit_base_patch16_224", "depth": 0},
        "decoder": {"width": 50, "heads": 3},
        "recipe": {"blr": 1, "mask_ratio": 1.0, "epochs": "many"},
        "run": [],
        "enkoder": {},
    }
    with pytest.raises(ConfigError) as error:
        resolve_pretrain(raw, "bad")
    expected = [
        "unknown key 'enkoder' (did you mean 'encoder' or 'decoder'?)",
        "encoder: unknown option 'modell' (did you mean 'model'?)",
        "encoder: option depth = 0 must be at least 1",
        "decoder: option width = 50 must be a multiple of 4 and of heads = 3",
        "recipe: unknown option 'blr' (did you mean 'base_lr'?)",
        "recipe: option epochs = 'many' must be int >= 1",
        "recipe: option mask_ratio = 1.0 must be above 0 and below 1",
        "split = 'test' must be one of: train, all",
        "stride = 0 must be at least 1",
        "seed = -1 must be at least 0",
        "limit = 'many' must be int >= 1 | null",
        "run: [] is not a mapping of options",
    ]
    for line in expected:
        assert line in error.value.problems
    assert any("'syntetic' is neither a data set (did you mean 'synthetic'?)" in line for line in error.value.problems)
    assert any("'nowhere/at/all' is neither" in line for line in error.value.problems)
    assert len(error.value.problems) == len(expected) + 2


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs = 3 must be below epochs = 3"),
        ({"crop": 1.5}, "crop = 1.5 must be above 0 and at most 1"),
        ({"flip": 2}, "flip = 2 must be at least 0 and at most 1"),
        ({"min_lr": 1.0}, "min_lr = 1.0 must not exceed the peak learning rate, 0.0024"),
        ({"weight_decay": -1}, "weight_decay = -1 must be at least 0"),
        ({"base_lr": float("inf")}, "base_lr = inf must be finite"),
        ([1], "[1] is not a mapping of options"),
    ],
)
def test_ranges_are_checked(recipe: Any, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        shipped("pretrain/mae_face_vitb", recipe=recipe)
    assert any(line in problem for problem in error.value.problems)


def test_without_data_the_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data: no source given.*--data"):
        resolve_pretrain(read_config(find_config("pretrain/mae_face_vitb")), "x")


def test_a_data_set_of_a_plugin_file_is_known(tmp_path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from fusionkit.contracts import FaceDataset\nfrom fusionkit.registry import DATASETS\n"
        "@DATASETS.register_module()\nclass Mine(FaceDataset):\n    classes = ()\n    frames = None\n",
        encoding="utf-8",
    )
    assert shipped("pretrain/tiny", data="mine", plugins=[str(plugin)]).data == ("mine",)
    with pytest.raises(ConfigError, match=r"plugin 'gone\.py' cannot be read"):
        shipped("pretrain/tiny", plugins="gone.py")
