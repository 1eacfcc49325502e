from __future__ import annotations

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from fusionkit.errors import ConfigError, DataError
from fusionkit_backbones.checkpoint import EncoderHeader, read_header
from fusionkit_backbones.timm_model import TimmModel

GOOD = {
    "format": 1,
    "model": "vit_tiny_patch16_224",
    "options": {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 3},
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
}


def write(path, header=None, state=None) -> str:
    metadata = None if header is None else {"fusionkit": header if isinstance(header, str) else json.dumps(header)}
    save_file(state or {"w": torch.zeros(1)}, path, metadata=metadata)
    return str(path)


def test_a_header_is_read(tmp_path):
    assert read_header(write(tmp_path / "a.safetensors", GOOD)) == EncoderHeader(
        "vit_tiny_patch16_224", GOOD["options"], (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear"
    )


def test_files_of_other_kinds_have_none(tmp_path):
    assert read_header(write(tmp_path / "plain.safetensors")) is None
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pth")
    assert read_header(str(tmp_path / "w.pth")) is None
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    assert read_header(str(tmp_path / "broken.safetensors")) is None
    assert read_header(str(tmp_path / "gone.safetensors")) is None


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("no json", "has a damaged header: JSONDecodeError"),
        ({**GOOD, "format": 3}, "was written by a later fusionkit"),
        ({**GOOD, "mean": [0.5]}, "has a damaged header: ValueError"),
        ({**GOOD, "options": {"img_size": "big"}}, "has a damaged header: TypeError: 'big' is not a number"),
        ({**GOOD, "options": {"pretrained": 1}}, "unknown sizes in its header: pretrained"),
        ({**GOOD, "about": {"trained_on": ["data"]}}, "has a damaged header: ValueError"),
        ({**GOOD, "size": "big"}, "has a damaged header: TypeError: 'big' is not a number"),
        ({"format": 1}, "has a damaged header: KeyError"),
        ([], "has a damaged header: TypeError"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path, header, line):
    with pytest.raises(DataError) as error:
        read_header(write(tmp_path / "a.safetensors", header))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_backbone_takes_model_sizes_and_preparation_from_the_header(tmp_path):
    state = timm.create_model("vit_tiny_patch16_224", num_classes=0, **GOOD["options"]).state_dict()
    backbone = TimmModel(checkpoint=write(tmp_path / "a.safetensors", GOOD, state))
    assert (backbone.name, backbone.dim, backbone.input_size) == ("vit_tiny_patch16_224", 12, (32, 32))
    assert (backbone.mean, backbone.std, backbone.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "linear")
    assert torch.equal(backbone._model.pos_embed, state["pos_embed"])


def test_without_a_header_the_model_must_be_named(tmp_path):
    for checkpoint in (None, write(tmp_path / "plain.safetensors")):
        with pytest.raises(ConfigError, match=r"option model is missing \(model=NAME, or a checkpoint"):
            TimmModel(checkpoint=checkpoint)
