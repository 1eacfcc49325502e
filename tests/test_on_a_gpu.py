"""What runs on a GPU, on one that is not there: it gives what a processor gives, and hardly ever waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stand_in_gpu import StandInGpu, stand_in_gpu
from tiny_training import tiny_encoder, tiny_run, tiny_tuning, write_pictures
from toy_components import Blobs, registered, toy_house  # noqa: F401
from toy_features import made
from toy_tasks import expression

import fusionkit
from fusionkit.config.recipe import Recipe
from fusionkit.config.views import View
from fusionkit.engine.embed import embed, embedding_of
from fusionkit.engine.fit import Head, fit
from fusionkit.engine.source import open_source
from fusionkit.engine.stacked import fit_stacked
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.training.finetune import finetune
from fusionkit.training.pretrain import pretrain

GPU = "cuda:0"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInGpu]:
    with stand_in_gpu(monkeypatch) as found:
        yield found


# -- the stand-in ------------------------------------------------------------------------------------------------------


def test_tensors_of_two_devices_do_not_meet(gpu: StandInGpu) -> None:
    there = torch.ones(3, device=GPU)
    with pytest.raises(RuntimeError, match="add: expected all tensors to be on cuda:0"):
        there + torch.ones(3)
    assert (there + torch.tensor(2.0)).tolist() == [3.0, 3.0, 3.0]
    assert there.device == torch.device(GPU)
    assert gpu.waits == 1


def test_what_is_copied_later_is_not_there_before_it_is_awaited(gpu: StandInGpu) -> None:
    here = torch.zeros(2)
    here.copy_(torch.ones(2, device=GPU), non_blocking=True)
    assert here.isnan().all()
    torch.cuda.synchronize()
    assert here.tolist() == [1.0, 1.0]


def test_memory_that_is_copied_from_is_not_written_before_the_copy_is_awaited(gpu: StandInGpu) -> None:
    here = torch.zeros(2)
    there = here.to(GPU, non_blocking=True)
    here += 1
    with pytest.raises(AssertionError, match="memory was written"):
        there.cpu()


# -- heads -------------------------------------------------------------------------------------------------------------


def check(one: Head, other: Head, atol: float) -> None:
    for name in ("dev_logits", "test_logits"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, rtol=0)
    assert (one.history, one.best_epoch, one.steps) == (pytest.approx(other.history), other.best_epoch, other.steps)


@pytest.mark.parametrize(
    ("fusion", "recipe"),
    [
        ("concat:width=8", Recipe(epochs=1, lr=0.01, batch_size=30)),
        ("mlp:hidden=8", Recipe(epochs=2, lr=0.01, batch_size=30, loss="focal", view_dropout=0.3)),
        ("mlp:hidden=8", Recipe(epochs=1, lr=0.01, batch_size=30, view_heads=0.5, gradient_modulation=0.3)),
        ("evidential", Recipe(epochs=1, lr=0.01, batch_size=30)),
        ("temporal-transformer:width=4,heads=2,window=4", Recipe(epochs=1, lr=0.01, batch_size=30)),
    ],
)
def test_a_head_is_that_of_the_processor_and_no_step_waits(
    monkeypatch: pytest.MonkeyPatch, fusion: str, recipe: Recipe
) -> None:
    features, rows = made(missing=0.2)
    given = features, rows, expression(3), Spec.parse(fusion)
    on_processor = fit(*given, recipe, 0, "cpu")
    waits = {}
    for size in (recipe.batch_size, 2 * (recipe.batch_size or 0)):
        with stand_in_gpu(monkeypatch) as gpu:
            head = fit(*given, Recipe(**{**vars(recipe), "batch_size": size}), 0, GPU)
        waits[head.steps] = gpu.waits
        if size == recipe.batch_size:
            check(head, on_processor, 2e-5)
    assert len(waits) == 2
    assert len(set(waits.values())) == 1, f"waits by number of steps: {waits}"


@pytest.mark.parametrize("fusion", ["mlp:hidden=8", "logit-mean:learn=joint"])
def test_heads_that_are_trained_together_are_those_of_the_processor(gpu: StandInGpu, fusion: str) -> None:
    features, rows = made(missing=0.2)
    recipe = Recipe(epochs=2, lr=0.01, batch_size=30, view_dropout=0.3)
    given = features, rows, expression(3), Spec.parse(fusion), recipe
    for seed, head in zip((4, 1), fit_stacked(*given, (4, 1), GPU), strict=True):
        check(head, fit(*given, seed, "cpu"), 2e-4)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("toy_house")
def test_embeddings_are_those_of_the_processor_though_copies_are_awaited_late(tmp_path: Path, gpu: StandInGpu) -> None:
    source = open_source(Spec.parse("toy-blobs:clips=80"), None)  # some images and lower halves are missing
    assert len(source.table) == 640  # two and a half batches of a GPU
    backbone = Spec("timm", {"checkpoint": str(tiny_encoder(tmp_path)), "precision": "float32"})
    found = []
    for device in ("cpu", GPU):
        store = EmbeddingStore(tmp_path / device[:3])
        items = [
            embedding_of(source, Spec("toy-halves"), View.parse(view), backbone, tokens, device)
            for view, tokens in (("face", 0), ("bottom", 0), ("top", 4))
        ]
        embed(source, items, [0], store, device, lambda _: None)
        found.append([store.read(item.key, np.arange(640)) for item in items])
    assert gpu.waits == 3 * 3  # for each batch of each view
    for one, other in zip(*found, strict=True):
        assert 0 < np.isnan(one).sum() < one.size / 2
        np.testing.assert_allclose(one, other, atol=4e-3)


def test_pretraining_takes_the_steps_of_the_processor(tmp_path: Path, gpu: StandInGpu) -> None:
    config = tiny_run(write_pictures(tmp_path / "faces", 24), recipe={"precision": "float32"})
    on_processor = pretrain(config, tmp_path / "cpu", "cpu")
    there = pretrain(config, tmp_path / "gpu", GPU)
    assert there.losses == pytest.approx(on_processor.losses, rel=1e-5)
    weights = load_file(on_processor.encoder)
    for name, value in load_file(there.encoder).items():
        torch.testing.assert_close(value, weights[name], atol=1e-3, rtol=0)


@pytest.mark.usefixtures("toy_house")
def test_fine_tuning_predicts_what_it_does_on_the_processor(tmp_path: Path, gpu: StandInGpu) -> None:
    config = tiny_tuning(tiny_encoder(tmp_path), recipe={"precision": "float32", "epochs": 2})
    runs = [finetune(config, tmp_path / device[:3], device) for device in ("cpu", GPU)]
    one, other = (run.trained[0].head.test_logits for run in runs)
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.filterwarnings("ignore::fusionkit.errors.FusionKitWarning")
@pytest.mark.usefixtures("toy_house")
def test_a_grid_scores_and_predicts_what_it_does_on_the_processor(tmp_path: Path, gpu: StandInGpu) -> None:
    grid: dict[str, Any] = {
        "datasets": "toy-blobs",
        "extractor": "toy-halves",
        "backbones": {"type": "timm", "checkpoint": str(tiny_encoder(tmp_path)), "precision": "float32"},
        "regions": "top,bottom",
        "fusions": ["concat:width=8", "evidential"],  # one is stacked over seeds, the other is not
        "smoothers": "none",
        "recipe": {"epochs": 2},
        "seeds": 2,
    }
    runs = [fusionkit.bench(**grid, device=device, out=tmp_path / device) for device in ("cpu", "cuda")]
    one, other = ([row.score.value for row in run.rows if row.score] for run in runs)
    assert len(one) == 3
    assert one == pytest.approx(other, abs=1e-9)
    frames = Blobs().images(np.arange(16))
    given = [
        fusionkit.load(tmp_path / "cuda", "concat", device=device).predict_proba(frames) for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(*given, atol=1e-5)
