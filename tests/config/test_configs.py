"""Shipped configs are tested like code: each resolves, and the paper's grids run and hold what the docs say of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept_frames import frames_kept
from safetensors.numpy import load_file

from fusionkit.api import bench, prepare
from fusionkit.config.config_file import find_config, read_config, shipped_names
from fusionkit.config.grid_config import resolve
from fusionkit.config.keys import DEFAULT_SMOOTHERS, DEFAULTS
from fusionkit.config.recipe import Recipe
from fusionkit.registry import BACKBONES, FUSIONS
from fusionkit.testing.catalogue import entries
from fusionkit.training.finetune import finetune
from fusionkit.training.finetune_config import resolve_finetune
from fusionkit.training.pretrain_config import resolve_pretrain

TINY = "synthetic:train=4,val=3,test=3,clips=4,clip_length=8"
KEYS_OF_THE_PAPER = ["concat", "mean", "updown-concat", "updown-mean"]
WIDTHS = [1, 5, 11, 25, 51, 101, 201, 501]


@pytest.fixture(autouse=True, scope="module")
def kept_frames() -> Iterator[None]:
    """Draw each frame of the synthetic data set once."""
    with frames_kept():
        yield


def kind(raw: dict[str, Any]) -> str:
    if "encoder" in raw:
        return "pretrain"
    return "finetune" if "backbone" in raw else "grid"


RAW = {name: read_config(find_config(name)) for name in shipped_names()}
GRIDS = [name for name, raw in RAW.items() if kind(raw) == "grid"]


def resolved(name: str) -> Any:
    return resolve(RAW[name], name)


def rows_of(results: Any) -> list[tuple[str, str, str]]:
    return [(row.axes.views, row.axes.fusion.partition(":")[0], row.axes.smoother) for row in results.rows]


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_resolves_and_is_described_as_it_is_read(name: str) -> None:
    assert set(RAW[name]) <= set(DEFAULTS["bench"])
    grid = resolved(name)
    assert resolve(grid.describe(), name).describe() == grid.describe()


def test_the_two_sweeps_hold_every_fusion() -> None:
    """Those of pooled views in one, those of tokens and maps in the other; ``linear`` is the reference of both.

    Fusions of neighbouring frames are in neither: they need clips.
    """
    brought = [each for each in entries("fusions", distribution="fusionkit") if each.name != "linear"]
    names = {each.name for each in brought}
    needs = {name: getattr(FUSIONS.get(name), "needs", "pooled") for name in names}
    assert set(needs.values()) == {"pooled", "tokens", "map", "clip"}
    assert set(RAW["bench/fusions"]["fusions"]) == {name for name in names if needs[name] == "pooled"}
    tokens = {name for name in names if needs[name] in ("tokens", "map")}
    assert {name for name in RAW["bench/tokens"]["fusions"] if needs[name] != "pooled"} == tokens


@pytest.mark.parametrize("name", sorted(set(RAW) - set(GRIDS)))
def test_every_training_config_resolves_with_data(name: str) -> None:
    raw = RAW[name]
    if kind(raw) == "pretrain":
        assert resolve_pretrain({"data": ["synthetic"], **raw}, name).name == name
    else:
        assert resolve_finetune({"dataset": "synthetic", **raw}, name).name == name


@pytest.mark.slow
@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize(
    ("name", "keys", "expected"),
    [
        ("bench/quickstart", {}, [("face,eye,mouth", "concat")]),
        (
            "bench/tokens",
            {"recipe": {"epochs": 1}},
            [("face,eye,mouth", fusion) for fusion in RAW["bench/tokens"]["fusions"]],
        ),
        ("bench/regions", {}, [(region, "mlp") for region in RAW["bench/regions"]["regions"]]),
        ("paper/emotic_v1", {}, [("face,eye+mouth", "concat")]),
        ("paper/keys", {"recipe": {"epochs": 1}}, [("face,eye+mouth", key) for key in KEYS_OF_THE_PAPER]),
        (
            "paper/regions",
            {"recipe": {"epochs": 1}, "fusions": ["concat:width=32"]},
            [(f"face,{regions}", "concat") for regions in ("nose", "eye", "mouth", "eye+mouth", "eye,mouth,nose")],
        ),
        ("paper/smoothing", {"recipe": {"epochs": 1}}, [("face,eye+mouth", "concat")]),
    ],
)
def test_a_tiny_run_gives_every_row_a_score(
    name: str, keys: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    smoothers = RAW[name].get("smoothers", DEFAULT_SMOOTHERS)
    results = bench(name, out=tmp_path / "out", seeds=1, **{"datasets": [TINY], **keys})
    reference = [] if RAW[name].get("main") == "none" else [("face", "linear")]
    found = [(views, fusion) for views, fusion, _ in rows_of(results)]
    assert found == [row for row in [*reference, *expected] for _ in smoothers]
    assert all(row.score and np.isfinite(row.score.value) for row in results.rows)


def test_the_keys_are_the_papers_and_the_widths_those_of_the_docs() -> None:
    windows = [spec.options["width"] for spec in resolved("paper/smoothing").smoothers]
    assert windows == WIDTHS
    assert [spec.name for spec in resolved("paper/keys").fusions] == KEYS_OF_THE_PAPER
    for name in ("keys", "regions", "smoothing", "emotic_v1"):
        grid = resolved(f"paper/{name}")
        assert str(grid.main) == "face"
        assert [str(spec) for spec in grid.extractors] == ["template:layout=emotic"]


def test_emotic_v1_is_the_released_recipe() -> None:
    heads = prepare("paper/emotic_v1").plan.heads.values()
    (recipe,) = {head.recipe for head in heads if head.fusion.name == "concat"}
    usual = Recipe().describe()
    assert {name: value for name, value in recipe.describe().items() if value != usual[name]} == {
        "standardize": False,
        "optimizer": "adam",
        "lr": 1e-5,
        "weight_decay": 0.0,
        "batch_size": 1024,
        "epochs": 1,
        "patience": 0,
        "class_weights": "none",
    }
    assert recipe.loss == "cross-entropy"


def test_emotic_v1_has_the_parameters_of_the_release() -> None:
    (fusion,) = resolved("paper/emotic_v1").fusions
    model = FUSIONS.build(fusion, in_dims={"face": 768, "eye+mouth": 768}, num_classes=8)
    assert sum(value.numel() for value in model.parameters()) == 4_202_000


def saved(path: Path, seed: int) -> str:
    """A file in the form of MAE-Face, of timm's smallest vision transformer."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = timm.create_model("test_vit", num_classes=0, global_pool="avg").state_dict()
    state["fc_norm.weight"] += 1  # so that a fresh norm is another
    named = {name.replace("fc_norm", "norm") if name.startswith("fc_norm") else name: v for name, v in state.items()}
    torch.save({"model": named, "args": argparse.Namespace(lr=1e-4)}, path)
    return str(path)


def test_emotic_v1_takes_one_backbone_for_the_face_and_one_for_the_regions(tmp_path: Path) -> None:
    face, rest = saved(tmp_path / "face.pth", 1), saved(tmp_path / "rest.pth", 2)
    small = "model=test_vit,precision=float32"
    settings = [
        f"backbones.0.face=mae-face:checkpoint={face},{small}",
        f"backbones.0.default=mae-face:checkpoint={rest},{small}",
    ]
    plan = prepare("paper/emotic_v1", settings=settings, overrides={"datasets": [TINY], "seeds": 1}).plan
    used = {
        str(view): embedding.backbone.options["checkpoint"]
        for head in plan.heads.values()
        for view, embedding in head.embeddings.items()
    }
    assert used == {"face": face, "eye+mouth": rest}


@pytest.mark.slow
def test_the_authors_fine_tuning_begins_with_a_file_of_mae_face_and_a_fresh_norm(tmp_path: Path) -> None:
    file = saved(tmp_path / "face.pth", 1)
    raw = read_config(
        find_config("finetune/emotic_face"), [f"backbone=mae-face:fc_norm=fresh,model=test_vit,checkpoint={file}"]
    )
    recipe = {**raw["recipe"], "epochs": 2, "lr": 1e-30, "batch_size": 16}
    config = resolve_finetune({**raw, "dataset": TINY, "recipe": recipe}, "begun")
    finetune(config, tmp_path / "run")
    written = tmp_path / "run/best/backbone.safetensors"
    begun = load_file(written)
    state = torch.load(file, weights_only=False)["model"]
    assert np.array_equal(begun["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"].numpy())
    assert np.array_equal(begun["fc_norm.weight"], np.ones(64))
    backbone = BACKBONES.build(f"timm:checkpoint={written},precision=float32")
    views = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    theirs = BACKBONES.build(f"mae-face:checkpoint={file},model=test_vit,fc_norm=fresh,precision=float32")
    np.testing.assert_allclose(backbone(views), theirs(views), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("no_page")
def test_one_epoch_of_one_batch_moves_each_weight_of_the_block_by_the_learning_rate(tmp_path: Path) -> None:
    bench("paper/emotic_v1", out=tmp_path / "out", seeds=1, datasets=[TINY], reference="none")
    (file,) = tmp_path.glob("out/heads/*/head.safetensors")
    state = load_file(file)
    trained = {name.removeprefix("fusion."): v for name, v in state.items() if name.startswith("fusion.")}
    (fusion,) = resolved("paper/emotic_v1").fusions
    widths = {view: state[f"mean.{view}"].size for view in ("face", "eye+mouth")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = FUSIONS.build(fusion, in_dims=widths, num_classes=8).state_dict()
    moved = {name: np.abs(trained[name] - fresh[name].numpy()) for name in trained}
    # Adam's first step is its rate wherever the gradient is not tiny, and never more.
    for name, by in moved.items():
        assert by.max() <= 1e-5 + 1e-7, name
    assert np.median(moved["classifier.1.weight"]) == pytest.approx(1e-5, abs=1e-7)
    assert np.median(moved["project.0.weight"]) == pytest.approx(1e-5, rel=0.1)
