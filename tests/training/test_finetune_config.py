from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import tiny_encoder
from toy_components import toy_house

from fusionkit.config.config_file import find_config, read_config
from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec
from fusionkit.training.finetune_config import FinetuneRecipe, FusionShape, resolve_finetune

__all__ = ["toy_house"]
RAW = {"dataset": "synthetic", "backbone": {"type": "timm", "model": "test_vit", "size": 64}}


def refused(**changes: object) -> str:
    with pytest.raises(ConfigError) as raised:
        resolve_finetune({**RAW, **changes}, "x")
    return str(raised.value)


def test_the_recipe_of_the_authors_is_the_released_one() -> None:
    for name, view in (("face", "face"), ("eye_mouth", "eye+mouth")):
        raw = read_config(find_config(f"finetune/emotic_{name}"))
        config = resolve_finetune({**raw, "dataset": "synthetic"}, name)
        assert str(config.view) == view
        assert config.backbone.options == {"model": "vit_base_patch16_224.mae", "pool": "avg"}
        recipe = config.recipe
        assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.layer_decay) == ("adam", 1e-4, 0.0, 1.0)
        assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (20, 288, "step")
        assert (recipe.crop, recipe.flip, recipe.drop_path, recipe.select) == (0.8, 0.5, 0.1, "accuracy")
        assert (recipe.class_weights, recipe.loss, recipe.label_smoothing) == ("none", "cross-entropy", 0.0)
        assert recipe.schedule_of(10).at(159) == 1e-4
        assert recipe.schedule_of(10).at(160) == pytest.approx(1e-5)


@pytest.mark.parametrize("name", ["finetune/face", "finetune/tiny", "paper/position"])
def test_shipped_configs_hold_together(name: str) -> None:
    resolve_finetune({"dataset": "synthetic", **read_config(find_config(name))}, name)


def test_positions_and_operators_are_crossed() -> None:
    changes = {"auxiliary": "nose,eye+mouth", "fusion": {"position": ["alone", "block:2"]}}
    changes["fusion"]["combine"] = ["average", "concat"]
    config = resolve_finetune({**RAW, **changes, "seeds": 2}, "x")
    assert [str(shape.spec) for shape in config.shapes] == [
        "finetuned",
        "joint:combine=average,position=block:2",
        "joint:combine=concat,position=block:2",
    ]
    assert config.seeds == (0, 1)
    assert [list(config.views(shape)) for shape in config.shapes[:2]] == [
        ["face"],
        ["face", "eye+mouth", "nose"],
    ]


def test_init_replaces_the_model_if_the_file_names_its_own(tmp_path: Path) -> None:
    encoder = tiny_encoder(tmp_path)
    begun = resolve_finetune({**RAW, "init": str(encoder)}, "x").backbone
    assert begun.options == {"checkpoint": str(encoder)}
    foreign = tmp_path / "mae_face.pth"
    foreign.write_bytes(b"weights")
    raw = {"type": "timm", "model": "test_vit", "pool": "avg", "pretrained": True}
    begun = resolve_finetune({**RAW, "backbone": raw, "init": str(foreign)}, "x").backbone
    assert begun.options == {"model": "test_vit", "pool": "avg", "checkpoint": str(foreign)}
    alone = resolve_finetune({"dataset": "synthetic", "init": str(encoder)}, "x").backbone
    assert str(alone) == f"timm:checkpoint={encoder}"
    assert "init: missing.pth is not a file" in refused(init="missing.pth")


def test_a_fine_tuning_has_one_data_set_extractor_and_backbone() -> None:
    assert "dataset: synthetic, synthetic:seed=2: a fine-tuning has one dataset" in refused(
        dataset="synthetic,synthetic:seed=2"
    )
    assert "backbone: timm, hog: a fine-tuning has one backbone" in refused(backbone=["timm", "hog"])


def test_execution_options_are_not_in_the_identity() -> None:
    plain = resolve_finetune(RAW, "x")
    assert resolve_finetune({**RAW, "run": {"workers": 3}}, "x").digest() == plain.digest()
    assert resolve_finetune({**RAW, "recipe": {"lr": 1e-3}}, "x").digest() != plain.digest()
    assert str(FinetuneRecipe()) == "default"
    assert str(FinetuneRecipe(lr=1e-3, select="accuracy")) == "lr=0.001,select=accuracy"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"views": "face"}, "unknown key 'views' (did you mean 'view'?"),
        ({"dataset": None}, "dataset: no dataset given"),
        ({"dataset": "synthetc"}, "did you mean 'synthetic'"),
        ({"backbone": None}, "backbone: no backbone given"),
        ({"view": "Face"}, "view: 'Face' is not a view"),
        ({"view": "eyes"}, "extractor 'template:layout=emotic' has no region 'eyes' (did you mean 'eye'"),
        ({"auxiliary": "eye,eye"}, "auxiliary: region set 'eye,eye' contains a view twice"),
        ({"fusion": {"position": "pooled"}}, "position = pooled needs an auxiliary view"),
        ({"fusion": {"position": "alone"}, "auxiliary": "eye"}, "position = alone takes none"),
        ({"fusion": {"positions": "input"}}, "fusion: unknown option 'positions' (did you mean 'position'"),
        ({"recipe": {"epochs": 2}}, "recipe: option warmup_epochs = 2 must be below epochs = 2"),
        ({"recipe": {"schedule": "step"}}, "(write warmup_epochs=0)"),
        ({"recipe": {"layer_decay": 1.5}}, "recipe: option layer_decay = 1.5 must be above 0 and at most 1"),
        ({"recipe": {"loss": "focal", "label_smoothing": 0.1}}, "does not go with loss = 'focal'"),
        ({"recipe": {"select": "f1"}}, "recipe: option select = 'f1'"),
        ({"recipe": {"step_at": 0.01, "schedule": "step", "warmup_epochs": 0}}, "is less than one epoch"),
        ({"fusion": {"position": "middle", "combine": "average,concat"}}, "position = 'middle' must be one of: alone,"),
        ({"fusion": {"combine": "sum"}}, "combine = 'sum' must be one of: average, concat"),
        ({"fusion": {"position": []}}, "fusion: no position given"),
        ({"fusion": "input"}, "fusion: 'input' is not a mapping"),
        ({"custom_imports": ["not_there"]}, "custom_imports: 'not_there' cannot be imported"),
        ({"split": "kfold:k=1"}, "k = 1 must be at least 2"),
        ({"seeds": 0}, "seeds = 0 must be at least 1"),
        ({"limit": 0}, "limit = 0 must be at least 1"),
    ],
)
def test_mistakes_are_named(changes: dict, line: str) -> None:
    assert line in refused(**changes)


def test_all_problems_are_reported_at_once_and_once() -> None:
    assert len(refused(view="Face", recipe={"lr": -1}, seeds=-1).splitlines()) == 3
    assert len(refused(fusion={"position": "middle", "combine": ["average", "concat"]}).splitlines()) == 1


@pytest.mark.parametrize(
    ("position", "combine", "spec", "folder"),
    [
        ("alone", "concat", "finetuned", "alone"),
        ("input", "average", "joint:combine=average,position=input", "input-average"),
        ("block:12", "concat", "joint:combine=concat,position=block:12", "block12-concat"),
        ("pooled", "concat", "joint:combine=concat,position=pooled", "pooled-concat"),
        ("logits", "average", "joint:combine=average,position=logits", "logits-average"),
    ],
)
def test_a_shape_is_parsed_and_named(position: str, combine: str, spec: str, folder: str) -> None:
    shape = FusionShape.parse(position, combine)
    assert shape.at == position
    assert str(shape.spec) == spec
    assert Spec.parse(spec) == shape.spec
    assert shape.folder == folder


def test_a_single_view_has_no_operator() -> None:
    assert FusionShape.parse("alone", "concat") == FusionShape.parse("alone", "average")


@pytest.mark.parametrize(
    ("position", "combine", "line"),
    [
        ("block", "average", "position = 'block' must be one of: alone, input, block:K, pooled, logits"),
        ("block:-1", "average", "position = 'block:-1'"),
        (3, "average", "position = 3"),
        ("input", "sum", "combine = 'sum' must be one of: average, concat"),
    ],
)
def test_an_unknown_shape_is_refused(position: object, combine: object, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        FusionShape.parse(position, combine)
    assert line in str(raised.value)
