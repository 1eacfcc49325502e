from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fusionkit.errors import ConfigError, DataError
from fusionkit_backbones.checkpoint import load_checkpoint, read_weights


def small(seed: int, classes: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential()
        model.add_module("stem", nn.Linear(3, 5))
        model.add_module("norm", nn.BatchNorm1d(5))
        if classes:
            model.add_module("head", nn.Linear(5, classes))
        return model


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


class Opens:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize(
    "nest", [(), ("model",), ("state_dict",), ("model_state",), ("model_state_dict",), ("net", "model")]
)
def test_weights_are_found_under_the_nesting_and_prefixes_of_training(tmp_path, nest, prefix):
    state = small(1).state_dict()
    saved = {prefix + name: value for name, value in state.items()}
    for name in nest:
        saved = {name: saved, "optimizer": {"lr": 0.1}, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
    torch.save(saved, tmp_path / "w.pth")
    assert same(read_weights(str(tmp_path / "w.pth")), state)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "legacy pt"])
def test_round_trip_restores_every_weight(tmp_path, kind):
    trained, model = small(1), small(2)
    path = str(tmp_path / f"w.{kind.split()[-1]}")
    if kind == "safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=kind == "pth")
    load_checkpoint(model, path)
    assert same(model.state_dict(), trained.state_dict())


def test_classifier_that_the_model_does_not_have_is_ignored(tmp_path):
    trained, model = small(1, classes=7), small(2)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    load_checkpoint(model, str(tmp_path / "w.safetensors"), classifiers=("head",))
    assert torch.equal(model.stem.weight, trained.stem.weight)
    with pytest.raises(DataError, match=r"2 unexpected: head\.bias, head\.weight"):
        load_checkpoint(model, str(tmp_path / "w.safetensors"))


def test_half_precision_weights_are_widened(tmp_path):
    trained, model = small(1), small(2)
    torch.save(trained.half().state_dict(), tmp_path / "w.pth")
    load_checkpoint(model, str(tmp_path / "w.pth"))
    assert model.stem.weight.dtype == torch.float32
    assert torch.equal(model.stem.weight, trained.stem.weight.float())


def test_all_that_does_not_fit_is_listed_in_one_error_and_nothing_is_loaded(tmp_path):
    model = small(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = small(1).state_dict()
    del state["norm.running_mean"], state["norm.num_batches_tracked"]
    state["stem.weight"] = torch.zeros(5, 4)
    state |= {f"decoder.{k}": torch.zeros(1) for k in range(8)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError) as error:
        load_checkpoint(model, str(tmp_path / "w.pth"))
    assert str(error.value) == (
        f"checkpoint {tmp_path}/w.pth does not fit this Sequential: 1 missing: norm.running_mean; 8 unexpected: "
        "decoder.0, decoder.1, decoder.2, decoder.3, decoder.4, decoder.5 and 2 more; "
        "1 misshaped: stem.weight (5, 4) instead of (5, 3)"
    )
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("how", ["torch.save", "torch.save legacy", "pickle 2", "pickle 5", "beside weights"])
@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "safetensors"])
def test_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path, how, suffix):
    path, trace = tmp_path / f"w.{suffix}", tmp_path / "trace"
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(Opens(trace), protocol=int(how[-1])))
    else:
        saved = {**small(1).state_dict(), "extra": Opens(trace)} if how == "beside weights" else Opens(trace)
        torch.save(saved, path, _use_new_zipfile_serialization="legacy" not in how)
    with pytest.raises(DataError) as error:
        read_weights(str(path))
    assert not trace.exists()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"checkpoint {path} ")
    if suffix != "safetensors" and how == "torch.save":
        assert "holds Python objects (posix.system); unpickling could run code: refused" in str(error.value)


def test_the_pickle_of_these_tests_does_run_its_command_when_it_is_not_refused(tmp_path):
    pickle.loads(pickle.dumps(Opens(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all " * 9, b"PK\x03\x04" + b"0" * 90, b"\x80\x02}q\x00."])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_broken_file_is_refused_in_one_line(tmp_path, content, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_weights(str(path))
    assert str(error.value).startswith(f"checkpoint {path} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("saved", [{}, {"epoch": 3}, [torch.zeros(1)], {"model": {"a": torch.zeros(1), "b": 2}}])
def test_file_without_state_dict_is_refused(tmp_path, saved):
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(DataError, match="holds no state dict"):
        read_weights(str(tmp_path / "w.pth"))


def test_missing_file_is_a_wrong_request(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pth is not a file"):
        read_weights(str(tmp_path / "none.pth"))


class Pooled(nn.Module):
    """A transformer's end: one norm, before the pooling or behind it."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        for number, name in enumerate(names):
            self.add_module(name, nn.LayerNorm(4))
            nn.init.constant_(getattr(self, name).weight, number + 2.0)


def test_norm_before_the_pooling_is_loaded_as_the_one_after_it(tmp_path):
    save_file(Pooled("norm").state_dict(), tmp_path / "w.safetensors")
    behind = Pooled("other", "fc_norm")
    with pytest.raises(DataError, match=r"2 missing: other\.weight, other\.bias$"):
        load_checkpoint(behind, str(tmp_path / "w.safetensors"))
    behind = Pooled("fc_norm")
    nn.init.zeros_(behind.fc_norm.weight)
    load_checkpoint(behind, str(tmp_path / "w.safetensors"))
    assert (behind.fc_norm.weight == 2).all()


def test_norms_of_both_kinds_are_never_mixed_up(tmp_path):
    save_file(Pooled("norm").state_dict(), tmp_path / "one.safetensors")
    with pytest.raises(DataError, match=r"2 missing: fc_norm\.weight, fc_norm\.bias$"):
        load_checkpoint(Pooled("norm", "fc_norm"), str(tmp_path / "one.safetensors"))
    save_file(Pooled("norm", "fc_norm").state_dict(), tmp_path / "both.safetensors")
    with pytest.raises(DataError, match=r"2 unexpected: norm\.bias, norm\.weight$"):
        load_checkpoint(Pooled("fc_norm"), str(tmp_path / "both.safetensors"))
