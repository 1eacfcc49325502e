"""ONNX models give the numbers of the networks that they were exported from; all other files are refused in a line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fusionkit.errors import ConfigError, DataError, FusionKitError, PluginError
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity
from fusionkit_backbones.onnx_model import OnnxModel
from fusionkit_backbones.timm_model import TimmModel

SIDE = 64
IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def views(count: int = 5, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def exported(file: Path, network: torch.nn.Module, batch: int | None, **names: Any) -> Path:
    """Export a network for images of 64 px, of a fixed batch or any."""
    free = None if batch else {"image": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other exporter needs another library
        torch.onnx.export(
            network,
            (torch.zeros(batch or 2, 3, SIDE, SIDE),),
            str(file),
            dynamo=False,
            input_names=["image"],
            dynamic_axes=free,
            **names,
        )
    return file


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[TimmModel, Path]:
    """A network of timm, and its file."""
    timm = TimmModel("test_resnet", size=SIDE, precision="float32", **IMAGENET)
    return timm, exported(tmp_path_factory.mktemp("resnet") / "resnet.onnx", timm._model, None)


def save(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str | None],
    weights: dict[str, np.ndarray] | None = None,
    kind: int = TensorProto.FLOAT,
    outputs: Sequence[str] = ("out",),
    inputs: Sequence[str] = ("image",),
    **more: Any,
) -> Path:
    """Write a model of a few nodes."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("foreign", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9, **more), str(file))
    return file


def mean_colour(file: Path, shape: Sequence[int | str | None], axes: Sequence[int] = (2, 3), **how: Any) -> Path:
    """A model that averages over the given axes."""
    return save(file, [helper.make_node("ReduceMean", ["image"], ["out"], axes=axes, keepdims=0)], shape, **how)


def test_the_numbers_are_those_of_timm(resnet: tuple[TimmModel, Path]) -> None:
    timm, file = resnet
    own = OnnxModel(str(file), size=SIDE, **IMAGENET)
    assert (own.dim, own.input_size) == (timm.dim, timm.input_size)
    np.testing.assert_allclose(own(views()), timm(views()), rtol=1e-4, atol=1e-5)
    assert own.cost()[1] == pytest.approx(timm.cost()[1], rel=1e-6)
    # Channels in the other order: the same network, fed by somebody who reads images with OpenCV.
    swapped = OnnxModel(str(file), size=SIDE, channels="bgr", **IMAGENET)
    np.testing.assert_allclose(swapped(views()), timm(views()[..., ::-1]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_transformer_of_fixed_batch_size_gives_the_numbers_of_timm(tmp_path: Path) -> None:
    timm = TimmModel("test_vit", size=SIDE, precision="float32")
    own = OnnxModel(str(exported(tmp_path / "vit.onnx", timm._model, 3)), mean=list(timm.mean), std=list(timm.std))
    for count in (1, 3, 5):
        np.testing.assert_allclose(own(views(count)), timm(views(count)), rtol=1e-4, atol=1e-5)
    assert own.cost()[1] == pytest.approx(timm.cost()[1], rel=1e-6)


def test_a_tensor_inside_is_the_embedding_before_the_classifier(resnet: tuple[TimmModel, Path], tmp_path: Path) -> None:
    timm, _ = resnet
    network = torch.nn.Sequential(timm._model, torch.nn.Linear(timm.dim, 7)).eval()
    file = str(exported(tmp_path / "classifier.onnx", network, None, output_names=["logits"]))
    logits = OnnxModel(file, size=SIDE, **IMAGENET)
    before = onnx.load(file).graph.node[-1].input[0]
    embedding = OnnxModel(file, output=before, size=SIDE, **IMAGENET)
    assert (logits.dim, embedding.dim) == (7, timm.dim)
    np.testing.assert_allclose(embedding(views()), timm(views()), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        expected = network[1](torch.from_numpy(timm(views()))).numpy()
    np.testing.assert_allclose(logits(views()), expected, rtol=1e-4, atol=1e-5)
    assert logits.cost()[0] - embedding.cost()[0] == 7 * timm.dim + 7


@pytest.mark.parametrize(
    ("shape", "axes", "options"),
    [
        ([None, 3, 8, 6], (2, 3), {}),
        (["batch", 8, 6, 3], (1, 2), {}),
        ([2, 3, "height", "width"], (2, 3), {"size": [8, 6]}),
        (["batch", None, None, None], (1, 2), {"size": [8, 6], "layout": "NHWC"}),
        ([1, 3, 8, 6], (2, 3), {"channels": "bgr"}),
    ],
)
def test_layout_size_and_batch_are_read_or_given(
    tmp_path: Path, shape: list[Any], axes: tuple[int, int], options: dict[str, Any]
) -> None:
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.125]
    own = OnnxModel(str(mean_colour(tmp_path / "m.onnx", shape, axes)), mean=mean, std=std, **options)
    assert own.input_size == (8, 6)
    given = views(3, 8, 6)
    pixels = given[..., ::-1] if "channels" in options else given
    by_hand = [[(float(view[..., c].mean()) / 255 - mean[c]) / std[c] for c in range(3)] for view in pixels]
    np.testing.assert_allclose(own(given), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "how", [{"mean": [0.5] * 3, "std": [0.5] * 3}, {"scale": 1, "mean": [127.5] * 3, "std": [127.5] * 3}]
)
def test_the_preparation_of_arcface(tmp_path: Path, how: dict[str, Any]) -> None:
    file = save(tmp_path / "m.onnx", [helper.make_node("Flatten", ["image"], ["out"])], ["n", 3, 112, 112])
    own = OnnxModel(str(file), **how)
    assert (own.input_size, own.mean, own.std) == ((112, 112), (0.5,) * 3, (0.5,) * 3)
    given = views(2, 112, 112)
    expected = ((given.astype(np.float64) - 127.5) / 127.5).transpose(0, 3, 1, 2).reshape(2, -1)
    np.testing.assert_allclose(own(given), expected, atol=1e-6)


def test_tokens_and_maps_are_averaged_and_bytes_and_halves_are_accepted(tmp_path: Path) -> None:
    given = views(2, 4, 4)
    maps = OnnxModel(
        str(save(tmp_path / "maps.onnx", [helper.make_node("Identity", ["image"], ["out"])], [2, 3, 4, 4]))
    )
    np.testing.assert_allclose(maps(given), given.mean((1, 2)) / 255, rtol=1e-5)
    shape = np.array([2, 16, 3])
    nodes = [helper.make_node("Reshape", ["image", "shape"], ["out"])]
    tokens = OnnxModel(str(save(tmp_path / "tokens.onnx", nodes, [2, 4, 4, 3], {"shape": shape})))
    np.testing.assert_allclose(tokens(given), given.mean((1, 2)) / 255, rtol=1e-5)
    halves = OnnxModel(str(mean_colour(tmp_path / "half.onnx", ["n", 3, 4, 4], kind=TensorProto.FLOAT16)))
    np.testing.assert_allclose(halves(given), given.mean((1, 2)) / 255, rtol=2e-3)
    cast = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["out"], axes=[2, 3], keepdims=0),
    ]
    whole = OnnxModel(str(save(tmp_path / "bytes.onnx", cast, ["n", 3, 4, 4], kind=TensorProto.UINT8)))
    np.testing.assert_allclose(whole(given), given.mean((1, 2)), rtol=1e-5)


def external(folder: Path, location: str = "weights.bin") -> Path:
    """A model whose weights are in another file."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["out"]),
    ]
    folder.mkdir(exist_ok=True)
    file = save(folder / "m.onnx", nodes, ["n", 3, 4, 4], {"weights": np.ones((3, 2), np.float32)})
    onnx.save(onnx.load(str(file)), str(file), save_as_external_data=True, location="weights.bin", size_threshold=0)
    content = file.read_bytes()
    same_length = location.ljust(len("weights.bin"), "/").encode()
    file.write_bytes(content.replace(b"weights.bin", same_length))
    return file


def test_the_identity_has_the_content_of_all_files_and_every_option(tmp_path: Path) -> None:
    file = external(tmp_path / "a")

    def identity(**options: Any) -> Any:
        return component_identity(BACKBONES, Spec("onnx", {"model": str(file), **options}))

    assert OnnxModel(str(file)).dim == 2
    before = identity()
    options: list[dict[str, Any]] = [
        {"output": "mean"},
        {"input": "image"},
        {"layout": "NCHW"},
        {"size": 4},
        {"mean": [0.5, 0.5, 0.5]},
        {"std": [0.5, 0.5, 0.5]},
        {"scale": 1},
        {"channels": "bgr"},
        {"interpolation": "area"},
        {"providers": ["CPUExecutionProvider"]},
    ]
    assert {name for each in options for name in each} == set(before["options"]) - {"model"}
    assert all(identity(**each) != before for each in options)
    weights = tmp_path / "a/weights.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert identity() != before
    file = external(tmp_path / "b")
    assert identity() == before, "the path does not matter"


def model_of(nodes: Callable[[], list[onnx.NodeProto]], **how: Any) -> Callable[[Path], Path]:
    return lambda folder: save(folder / "m.onnx", nodes(), how.pop("shape", ["n", 3, 4, 4]), **how)


def flat(*names: str) -> list[onnx.NodeProto]:
    return [helper.make_node("Flatten", [names[0] if names else "image"], ["out"])]


def text(content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "m.onnx").write_bytes(content)
        return folder / "m.onnx"

    return write


def truncated(folder: Path) -> Path:
    file = external(folder)
    model = onnx.load(str(file))
    onnx.save(model, str(file))
    file.write_bytes(file.read_bytes()[:-20])
    return file


def without_weights(folder: Path) -> Path:
    file = external(folder)
    (folder / "weights.bin").unlink()
    return file


def short_weights(folder: Path) -> Path:
    file = external(folder)
    (folder / "weights.bin").write_bytes(b"\0\0\0\0")
    return file


def huge_weights(folder: Path) -> Path:
    file = external(folder)
    model = onnx.load(str(file))
    model.graph.initializer[0].dims[0] = 10**12
    onnx.save(model, str(file))
    return file


def filled(folder: Path) -> Path:
    shape = np.array([1, 10**6, 10**6])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["filled"]),
        helper.make_node("ReduceMean", ["filled"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Concat", ["flat", "mean"], ["out"], axis=1),
    ]
    return save(folder / "m.onnx", nodes, [1, 3, 4, 4], {"shape": shape})


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "text": (text(b"no model"), "is not an ONNX model"),
    "empty": (text(b""), "is not an ONNX model: it has no operators"),
    "page": (text(b"<!DOCTYPE html><html>"), "is a web page, not weights"),
    "pointer": (text(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    "truncated": (truncated, "is not an ONNX model"),
    "weights missing": (without_weights, "its file of weights 'weights.bin' is missing (put it beside the model)"),
    "weights short": (short_weights, "its weights cannot be read"),
    "weights elsewhere": (lambda folder: external(folder, "../../etc/x"), "not in the folder of the model: refused"),
    "weights of root": (lambda folder: external(folder, "/etc/passwd"), "not in the folder of the model: refused"),
    "weights huge": (huge_weights, "tensor 'weights' of shape (1000000000000, 2) is huge"),
    "tensor huge": (filled, "tensor 'filled' of shape (1, 1000000, 1000000) is huge"),
    "rank": (model_of(flat, shape=["n", 48]), "input 'image' has rank 2, not 4 (images are (B, 3, H, W)"),
    "channels": (model_of(flat, shape=["n", 4, 4, 4]), "without three channels or one"),
    "type": (model_of(flat, kind=TensorProto.INT64), "input 'image' is INT64 (FLOAT, FLOAT16 or UINT8)"),
    "two inputs": (
        model_of(
            lambda: [helper.make_node("Add", ["image", "other"], ["sum"]), *flat("sum")], inputs=["image", "other"]
        ),
        "output 'out' needs 2 inputs (image, other) (a backbone has one: images)",
    ),
    "no input": (
        model_of(lambda: [helper.make_node("RandomNormal", [], ["out"], shape=[1, 4])]),
        "output 'out' needs 0 inputs (none)",
    ),
    "two outputs": (
        model_of(lambda: [*flat(), helper.make_node("Identity", ["out"], ["twin"])], outputs=["out", "twin"]),
        "has 2 outputs: give output=NAME (out, twin)",
    ),
    "custom operator": (
        model_of(lambda: [helper.make_node("Face", ["image"], ["out"], domain="foreign")]),
        "needs operators that ONNX Runtime does not have: foreign.Face",
    ),
    "unknown operator": (model_of(lambda: [helper.make_node("Fase", ["image"], ["out"])]), "cannot be opened"),
    "rank of output": (
        model_of(lambda: [helper.make_node("ReduceMean", ["image"], ["out"], axes=[1, 2, 3], keepdims=0)]),
        "output 'out' has shape (2,) for (2, 3, 4, 4) (an embedding is (B, D)",
    ),
    "maps of NHWC": (
        model_of(lambda: [helper.make_node("Identity", ["image"], ["out"])], shape=["n", 4, 4, 3]),
        "of which the channels are unknown in a model of layout NHWC (choose an output (B, D))",
    ),
    "not finite": (
        model_of(
            lambda: [
                helper.make_node("Log", ["zero"], ["log"]),
                helper.make_node("Mul", ["image", "log"], ["many"]),
                *flat("many"),
            ],
            weights={"zero": np.zeros(1, np.float32)},
        ),
        "output 'out' of a grey view is not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_no_backbone_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    file = make(tmp_path / "")
    with pytest.raises(FusionKitError) as caught:
        OnnxModel(str(file))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (["n", 3, 4, 4], {"size": 112}, "size = 112 does not fit"),
        (["n", 3, None, None], {}, "does not say the size of its input (give size=112"),
        (["n", 3, None, 3], {}, "has no clear layout (give layout=NCHW)"),
        (["n", 3, 4, 4], {"layout": "NHWC"}, "whose input is (None, 3, 4, 4)"),
        (["n", 3, 4, 4], {"output": "outt"}, "computes no tensor 'outt' (did you mean 'out'?) (the last ones: out)"),
        (["n", 3, 4, 4], {"input": "imag"}, "needs no input 'imag' (did you mean 'image'?) (inputs: image)"),
        (["n", 3, 4, 4], {"providers": ["CPU"]}, "ONNX Runtime has no provider 'CPU'"),
        (["n", 3, None, None], {"size": 4096}, "is huge"),
    ],
)
def test_options_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, shape: list[Any], options: dict[str, Any], message: str
) -> None:
    file = save(tmp_path / "m.onnx", flat(), shape)
    if options.get("size") == 4096:  # an outer product of pixels
        nodes = [helper.make_node("Tile", ["image", "many"], ["tiled"]), *flat("tiled")]
        file = save(tmp_path / "m.onnx", nodes, shape, {"many": np.array([1, 1, 8, 1])})
    with pytest.raises((ConfigError, DataError)) as caught:
        OnnxModel(str(file), **options)
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        component_identity(BACKBONES, Spec("onnx", {"model": "nowhere"}))


def test_a_gpu_without_its_library_is_refused(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    file = str(mean_colour(tmp_path / "m.onnx", ["n", 3, 4, 4]))
    with pytest.raises(PluginError, match=r"cannot use a GPU .*onnxruntime-gpu"):
        OnnxModel(file).prepare("cuda:0", "float32")
    OnnxModel(file, providers=["CPUExecutionProvider"]).prepare("cuda:0", "float32")


def test_without_the_libraries_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    file = str(mean_colour(tmp_path / "m.onnx", ["n", 3, 4, 4]))
    for library in ("onnxruntime", "onnx"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            with pytest.raises(PluginError, match="pip install onnx onnxruntime"):
                OnnxModel(file)


@pytest.mark.slow
def test_the_conformance_kit_has_nothing_to_say(resnet: tuple[TimmModel, Path]) -> None:
    from fusionkit.testing import check_component

    spec = f'onnx:model="{resnet[1]}",size={SIDE},mean=[0.485,0.456,0.406],std=[0.229,0.224,0.225]'
    results = check_component("backbone", spec)
    assert [f"{each.check}: {each.message}" for each in results if each.outcome == "failed"] == []
    assert sum(each.outcome == "passed" for each in results) > 5


def test_operations_are_counted_where_shapes_are_known_only_in_a_run(tmp_path: Path) -> None:
    weights = np.ones((5, 3, 3, 3), np.float32)
    pads = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Mod", ["shape", "divisors"], ["rest"]),  # padding that depends on the size of the image
        helper.make_node("Concat", ["rest", "rest"], ["pads"], axis=0),
        helper.make_node("Pad", ["image", "pads"], ["padded"]),
        helper.make_node("Conv", ["padded", "weights"], ["maps"]),
        helper.make_node("ReduceMean", ["maps"], ["out"], axes=[2, 3], keepdims=0),
    ]
    divisors = np.array([1, 3, 5, 4])  # 8 x 6 px get 3 and 2 on every side, and the convolution takes 2
    file = save(tmp_path / "m.onnx", pads, [1, 3, 8, 6], {"divisors": divisors, "weights": weights})
    parameters, gflop = OnnxModel(str(file)).cost()
    assert parameters == weights.size + divisors.size
    assert gflop == pytest.approx(2 * 5 * (8 + 6 - 2) * (6 + 4 - 2) * 27 / 1e9)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_model_of_one_channel_gets_grey_images_as_pillow_makes_them(layout: str, tmp_path: Path) -> None:
    side, flat = (["n", 1, 6, 6], [0, 36]) if layout == "NCHW" else (["n", 6, 6, 1], [0, 36])
    nodes = [helper.make_node("Reshape", ["image", "flat"], ["out"])]
    file = save(tmp_path / "grey.onnx", nodes, side, {"flat": np.array(flat)})
    pixels = views(4, 6, 6)
    grey = np.stack([np.asarray(Image.fromarray(view).convert("L"), np.float32) for view in pixels]).reshape(4, 36)
    found = OnnxModel(str(file), scale=1)(pixels)
    assert np.abs(found - grey).max() <= 1  # Pillow rounds products of integers
    scaled = OnnxModel(str(file), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))(pixels)
    np.testing.assert_allclose(scaled, (found / 255 - 0.5) / 0.25, atol=1e-5)
    with pytest.raises(ConfigError, match=r"must be three equal numbers: .* takes grey images"):
        OnnxModel(str(file), mean=(0.4, 0.5, 0.6))
    with pytest.raises(ConfigError, match="channels = 'bgr' does not fit"):
        OnnxModel(str(file), channels="bgr")
