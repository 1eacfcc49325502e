from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from fusionkit.errors import ConfigError, DataError
from fusionkit_backbones.checkpoint import load_checkpoint


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
    model = small(2)
    loaded = load_checkpoint(model, str(tmp_path / "w.pth"))
    assert same(model.state_dict(), state)
    assert loaded.notes == ((f"w.pth: prefix {prefix!r} of names is removed",) if prefix else ())


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
        load_checkpoint(small(2), str(path))
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
        load_checkpoint(small(2), str(path))
    assert str(error.value).startswith(f"checkpoint {path} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("saved", [{}, {"epoch": 3}, [torch.zeros(1)], {"model": {"a": torch.zeros(1), "b": 2}}])
def test_file_without_state_dict_is_refused(tmp_path, saved):
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(DataError, match="holds no state dict"):
        load_checkpoint(small(2), str(tmp_path / "w.pth"))


def test_missing_file_is_a_wrong_request(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pth is not a file"):
        load_checkpoint(small(2), str(tmp_path / "none.pth"))


def prefixed(prefix: str, seed: int) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in small(seed).state_dict().items()}


@pytest.mark.parametrize("raw", ["model", "state_dict", "model_state_dict", "net"])
@pytest.mark.parametrize(("weights", "seed"), [(None, 3), ("ema", 3), ("raw", 1)])
def test_moving_average_is_loaded_unless_the_raw_weights_are_requested(tmp_path, raw, weights, seed):
    torch.save({raw: prefixed("module.", 1), f"{raw}_ema": prefixed("", 3), "epoch": 9}, tmp_path / "w.pth")
    model = small(2)
    notes = load_checkpoint(model, str(tmp_path / "w.pth"), weights=weights).notes
    assert same(model.state_dict(), small(seed).state_dict())
    assert notes[0] == f"w.pth: holds {raw}, {raw}_ema: {raw if weights == 'raw' else raw + '_ema'} is loaded"


def test_default_is_what_timm_loads(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save({"state_dict": prefixed("", 1), "state_dict_ema": prefixed("module.", 3)}, tmp_path / "w.pth")
    model = small(2)
    load_checkpoint(model, str(tmp_path / "w.pth"))
    assert same(model.state_dict(), timm.models.load_state_dict(str(tmp_path / "w.pth")))


def test_moving_average_of_torch_has_a_counter_beside_its_weights(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(small(3))
    torch.save({"model": prefixed("", 1), "model_ema": averaged.state_dict()}, tmp_path / "w.pth")
    model = small(2)
    notes = load_checkpoint(model, str(tmp_path / "w.pth")).notes
    assert same(model.state_dict(), small(3).state_dict())
    assert "n_averaged (1)" in notes[-1]


def test_other_sets_of_weights_in_a_file_are_named(tmp_path):
    torch.save({"state_dict": prefixed("", 1), "ema_state_dict": prefixed("module.", 3)}, tmp_path / "w.pth")
    model = small(2)
    (note,) = load_checkpoint(model, str(tmp_path / "w.pth")).notes
    assert same(model.state_dict(), small(1).state_dict())
    assert note == "w.pth: holds state_dict, ema_state_dict: state_dict is loaded"


@pytest.mark.parametrize(
    ("saved", "weights"),
    [
        ({"state_dict": prefixed("", 1)}, "ema"),
        (prefixed("model.", 1), "ema"),
        ({"model_ema": prefixed("", 1)}, "raw"),
        (prefixed("ema.", 1), "raw"),
    ],
)
def test_requested_weights_that_a_file_lacks_are_refused(tmp_path, saved, weights):
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(DataError, match=f"w.pth has no {weights} weights"):
        load_checkpoint(small(2), str(tmp_path / "w.pth"), weights=weights)


@pytest.mark.parametrize(
    "prefix",
    ["model.", "backbone.", "encoder.", "net.", "trunk.", "visual.trunk.", "module.model.backbone.", "base_encoder."],
)
def test_prefix_is_removed_where_the_names_then_fit_and_what_stands_beside_it_is_named(tmp_path, prefix):
    beside = {"classifier.weight": torch.zeros(7, 5), "classifier.bias": torch.zeros(7), "loss.weight": torch.ones(7)}
    torch.save({"state_dict": {**prefixed(prefix, 1), **beside}}, tmp_path / "w.ckpt")
    model = small(2)
    notes = load_checkpoint(model, str(tmp_path / "w.ckpt")).notes
    assert same(model.state_dict(), small(1).state_dict())
    assert notes == (
        f"w.ckpt: prefix {prefix!r} of names is removed",
        "w.ckpt: ignored beside the encoder: classifier (2), loss (1)",
    )


@pytest.mark.parametrize(("weights", "seed"), [(None, 3), ("ema", 3), ("raw", 1)])
def test_moving_average_beside_the_raw_weights_of_a_module_is_known_by_its_prefix(tmp_path, weights, seed):
    torch.save({"state_dict": {**prefixed("net.", 1), **prefixed("ema_net.module.", 3)}}, tmp_path / "w.ckpt")
    model = small(2)
    notes = load_checkpoint(model, str(tmp_path / "w.ckpt"), weights=weights).notes
    assert same(model.state_dict(), small(seed).state_dict())
    assert "'net.', 'ema_net.module.'" in notes[0]


def test_two_sets_of_weights_of_which_neither_is_an_average_are_refused(tmp_path):
    torch.save({**prefixed("student.", 1), **prefixed("teacher.", 3)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="several times, with the prefixes 'student\\.', 'teacher\\.'"):
        load_checkpoint(small(2), str(tmp_path / "w.pth"))


def test_prefix_of_weights_that_do_not_fit_is_in_the_error(tmp_path):
    state = prefixed("module.", 1)
    del state["module.norm.running_mean"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"without prefix 'module\.'.* 1 missing: norm\.running_mean$"):
        load_checkpoint(small(2), str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("content", "name", "kind", "remedy"),
    [
        (b"\n<!DOCTYPE html><html>Virus scan warning</html>", "w.pth", "web page", "download"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "w.safetensors", "web page", "download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "w.bin", "Git LFS", "git lfs pull"),
        (save({"w": torch.zeros(2)}), "w.pth", "is a safetensors file", "w.safetensors"),
        (pickle.dumps({"w": [0.0]}), "w.safetensors", "torch.save", "w.pth"),
    ],
)
def test_file_of_another_kind_than_its_ending_is_named(tmp_path, content, name, kind, remedy):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        load_checkpoint(small(2), str(tmp_path / name))
    assert kind in str(error.value)
    assert remedy in error.value.hint


@pytest.mark.parametrize("count", range(1, 200, 13))
def test_safetensors_file_is_known_whatever_the_length_of_its_header(tmp_path, count):
    model = small(2)
    save_file(small(1).state_dict(), tmp_path / "w.safetensors", metadata={"note": "x" * count})
    load_checkpoint(model, str(tmp_path / "w.safetensors"))
    assert same(model.state_dict(), small(1).state_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["stem.weight", "norm.running_var"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, name, value):
    state = small(1).state_dict()
    state[name].view(-1)[1] = value
    torch.save({"model": state}, tmp_path / "w.pth")
    model = small(2)
    with pytest.raises(DataError, match=rf"w\.pth: NaN or infinite values in {name}$"):
        load_checkpoint(model, str(tmp_path / "w.pth"))
    assert same(model.state_dict(), small(2).state_dict())


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
