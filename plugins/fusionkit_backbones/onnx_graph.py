"""ONNX files: read without running them, checked, and cut down to what one output needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.errors import ConfigError, DataError, PluginError, cause_of, expanded, first_of
from fusionkit.registry import did_you_mean, did_you_mean_path
from fusionkit_backbones.checkpoint import mistaken_file

if TYPE_CHECKING:
    import onnx

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # ONNX Runtime has their operators
MOST_BYTES = 2**31 - 1  # what protobuf can hold
MOST_VALUES = 2**28  # of one tensor for one view: 1 GiB in float32
_COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_DIMENSION = "dim_value"
Shape = tuple[int | None, ...]


def onnx_library() -> Any:
    """Return the module ``onnx``.

    Raises:
        PluginError: if it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise PluginError("onnx: the libraries are not installed", hint="pip install onnx onnxruntime") from error
    return onnx


@dataclass(frozen=True, eq=False)
class Graph:
    """A model with one input and one output.

    Attributes:
        file: path of the file.
        model: the parts of the file that the output needs, with all weights.
        input: name of the input.
        shape: declared shape of the input; None for a free dimension.
        type: element type of the input, as ``FLOAT``.
        output: name of the output.
    """

    file: Path
    model: onnx.ModelProto
    input: str
    shape: Shape
    type: str
    output: str

    def dims(self, shape: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
        """Return the known shapes of all tensors, given dimensions of the input by index.

        Raises:
            DataError: if the shapes contradict each other, or a tensor is huge.
        """
        onnx = onnx_library()
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.value_info[:]  # shapes of the exporter's own example
        for index, size in shape.items():
            model.graph.input[0].type.tensor_type.shape.dim[index].dim_value = size
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception as error:
            raise DataError(f"{self.file}: shapes contradict each other: {cause_of(error)}") from error
        found = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
        for value in [*inferred.input, *inferred.value_info, *inferred.output]:
            dims = _shape(value)
            if value.type.tensor_type.HasField("shape") and None not in dims:
                found[value.name] = tuple(size or 0 for size in dims)
        for name, sizes in found.items():
            if math.prod(sizes) > MOST_VALUES * max(shape.get(0, 1), 1):
                raise DataError(
                    f"{self.file}: tensor {name!r} of shape {sizes} is huge", hint=f"at most {MOST_VALUES:,} values"
                )
        return found

    def showing(self, names: Iterable[str]) -> bytes:
        """Return the model with further tensors as its outputs."""
        onnx = onnx_library()
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        content: bytes = model.SerializeToString()
        return content

    def unknown(self, dims: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return the tensors of unknown shape that :meth:`cost` needs."""
        counted = [node for node in self.model.graph.node if node.op_type in _COUNTED]
        needed = dict.fromkeys(name for node in counted for name in [*node.input[:2], node.output[0]])
        return [name for name in needed if name not in dims]

    def cost(self, dims: Mapping[str, tuple[int, ...]]) -> tuple[int, float]:
        """Return (values of all weights, GFLOP of a batch: matrix products and convolutions of known shape)."""
        weights = sum(math.prod(tensor.dims) for tensor in self.model.graph.initializer if len(tensor.dims))
        return weights, sum(_operations(node, dims) for node in self.model.graph.node) / 1e9


def _operations(node: onnx.NodeProto, dims: Mapping[str, tuple[int, ...]]) -> int:
    """Return the operations of a node, a multiplication and an addition being two; 0 for other kinds of nodes."""
    if node.op_type not in _COUNTED or node.output[0] not in dims:
        return 0
    first, second = (dims.get(name) for name in node.input[:2])
    if not first or not second:
        return 0
    out = math.prod(dims[node.output[0]])
    if node.op_type == "Conv":
        return 2 * out * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(first) * math.prod(second[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return 2 * out * (first[0] if transposed else first[-1])


@lru_cache(maxsize=32)
def _external(path: str, state: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG001 - part of the key of the cache
    model = _parsed(Path(path))
    return tuple(str(file) for file in _external_files(model, Path(path)))


def files_of(path: str) -> list[str]:
    """Return the file of a model and the files of external weights that it names.

    Raises:
        ConfigError: if the file does not exist.
        DataError: if it is not an ONNX model, or a file of weights is missing or outside its folder.
    """
    file = _found(path)
    state = file.stat()
    return [str(file), *_external(str(file), (state.st_size, state.st_mtime_ns))]


def read_graph(path: str, chosen_input: str | None, chosen_output: str | None) -> Graph:
    """Read a model, and keep what one output needs.

    Args:
        path: the file.
        chosen_input: name of the input; None for the only one.
        chosen_output: name of an output, or of any tensor inside; None for the only output.

    Raises:
        ConfigError: if the file does not exist, or has no such input or output.
        DataError: if it is not an ONNX model, needs other inputs or operators, or lacks weights.
    """
    onnx = onnx_library()
    file = _found(path)
    model = _parsed(file)
    external = _external_files(model, file)
    if file.stat().st_size + sum(each.stat().st_size for each in external) > MOST_BYTES:
        raise DataError(f"{file} has more than 2 GiB of weights, which is not supported")
    _check_operators(model, file)
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(file.parent))
    except Exception as error:
        raise DataError(f"{file}: its weights cannot be read: {cause_of(error)}") from error
    output = _output(model, file, chosen_output)
    _cut(model, output)
    source = _input(model, file, chosen_input, output)
    kind = onnx.TensorProto.DataType.Name(source.type.tensor_type.elem_type)
    return Graph(file, model, source.name, _shape(source), kind, output)


def _found(path: str) -> Path:
    file = expanded(path)
    if not file.is_file():
        raise ConfigError(f"onnx: model {path} does not exist{did_you_mean_path(file)}")
    return file


def _parsed(file: Path) -> onnx.ModelProto:
    """Return the model without its external weights."""
    onnx = onnx_library()
    if mistaken := mistaken_file(str(file)):
        raise DataError(f"{file} {mistaken[0]}", hint=mistaken[1])
    if file.stat().st_size > MOST_BYTES:
        raise DataError(f"{file} is larger than 2 GiB, which no ONNX file is")
    try:
        model = onnx.load(str(file), format="protobuf", load_external_data=False)
    except Exception as error:
        raise DataError(f"{file} is not an ONNX model: {cause_of(error)}") from error
    if not (model.ir_version and model.opset_import and model.graph.node):
        raise DataError(f"{file} is not an ONNX model: it has no operators")
    return model


def _external_files(model: onnx.ModelProto, file: Path) -> list[Path]:
    """Return the files of external weights, each once.

    Raises:
        DataError: if one is missing or short, or not in the folder of the model.
    """
    folder, found = file.parent.resolve(), dict[Path, None]()
    for tensor in _tensors(model):
        if math.prod(tensor.dims) > MOST_BYTES:
            raise DataError(f"{file}: tensor {tensor.name!r} of shape {tuple(tensor.dims)} is huge")
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        weights = (folder / location).resolve()
        if not location or not weights.is_relative_to(folder):
            raise DataError(f"{file}: the weights {location!r} are not in the folder of the model: refused")
        if not weights.is_file():
            raise DataError(f"{file}: its file of weights {location!r} is missing", hint="put it beside the model")
        # onnx before 1.21 reads what there is.
        if weights.stat().st_size < _whole(entries.get("offset")) + _whole(entries.get("length")):
            raise DataError(f"{file}: its weights cannot be read: {location!r} ends before those of {tensor.name!r} do")
        found[weights] = None
    return list(found)


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def _nodes(nodes: Any) -> Iterator[onnx.NodeProto]:
    """Yield nodes, and those of the graphs inside them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _nodes(graph.node)


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all weights and constants."""
    yield from model.graph.initializer
    for node in _all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from attribute.g.initializer


def _check_operators(model: onnx.ModelProto, file: Path) -> None:
    known = {*KNOWN_DOMAINS, *(function.domain for function in model.functions)}
    foreign = dict.fromkeys(f"{node.domain}.{node.op_type}" for node in _all_nodes(model) if node.domain not in known)
    if foreign:
        raise DataError(f"{file} needs operators that ONNX Runtime does not have: {first_of(list(foreign))}")


def _output(model: onnx.ModelProto, file: Path, chosen: str | None) -> str:
    """Return the name of the output."""
    outputs = [value.name for value in model.graph.output]
    if chosen is None:
        if len(outputs) == 1:
            return str(outputs[0])
        raise ConfigError(f"onnx: {file} has {len(outputs)} outputs: give output=NAME", hint=first_of(outputs, 10))
    computed = [name for node in model.graph.node for name in node.output if name]
    if chosen in computed:
        return chosen
    last = ", ".join(computed[-6:])
    raise ConfigError(
        f"onnx: {file} computes no tensor {chosen!r}{did_you_mean(chosen, computed)}", hint=f"the last ones: {last}"
    )


def _cut(model: onnx.ModelProto, output: str) -> None:
    """Remove all nodes, weights and inputs that the output does not need."""
    onnx, graph = onnx_library(), model.graph
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    names, kept, stack = set[str](), set[int](), [output]
    while stack:
        name = stack.pop()
        if name in names:
            continue
        names.add(name)
        if (index := makers.get(name)) is not None and index not in kept:
            kept.add(index)
            stack += [each for node in _nodes([graph.node[index]]) for each in node.input if each]
    values = {value.name: value for value in [*graph.value_info, *graph.output]}
    result = onnx.ValueInfoProto()
    result.CopyFrom(values.get(output, onnx.ValueInfoProto(name=output)))
    nodes = [node for index, node in enumerate(graph.node) if index in kept]
    parts: list[tuple[Any, list[Any]]] = [
        (graph.node, nodes),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in names]),
        (graph.input, [value for value in graph.input if value.name in names]),
        (graph.output, [result]),
    ]
    for field, items in parts:
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)


def _input(model: onnx.ModelProto, file: Path, chosen: str | None, output: str) -> onnx.ValueInfoProto:
    """Return the only input that the output needs, and remove inputs that have a default."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in defaults}
    if chosen is not None and chosen not in inputs:
        raise ConfigError(
            f"onnx: output {output!r} of {file} needs no input {chosen!r}{did_you_mean(chosen, inputs)}",
            hint=f"inputs: {', '.join(inputs) or 'none'}",
        )
    if len(inputs) != 1:
        raise DataError(
            f"{file}: output {output!r} needs {len(inputs)} inputs ({', '.join(inputs) or 'none'})",
            hint="a backbone has one: images",
        )
    (found,) = inputs.values()
    kept = type(found).FromString(found.SerializeToString())
    del model.graph.input[:]
    model.graph.input.append(kept)
    return kept


def _shape(value: onnx.ValueInfoProto) -> Shape:
    """Return the declared shape; a free dimension, and one below 1, is None."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField(_DIMENSION) and dim.dim_value > 0 else None for dim in dims)
