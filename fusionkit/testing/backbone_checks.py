"""Checks of backbones: each view becomes one finite embedding, independent of its batch and reproducible."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np

from fusionkit.contracts.backbone import Backbone, Interpolation
from fusionkit.errors import PluginError
from fusionkit.registry import BACKBONES
from fusionkit.testing.case import (
    CheckFailed,
    Skipped,
    Subject,
    Suite,
    described,
    require,
    require_close,
    require_finite,
    require_same,
)
from fusionkit.testing.network_input import describe_input, input_of_network
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, and embeds views of its input size to (B, D)."""
    backbone = _ready(subject)
    backbone(_views(backbone))


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """The views are unchanged after the call."""
    backbone = _ready(subject)
    views = _views(backbone)
    backbone(views)
    require_same(views, _views(backbone), "embed(): changes the views that it gets")


@CHECKS.root
def same_input_same_output(subject: Subject) -> None:
    """A second call and a second instance give the same bits."""
    backbone = _ready(subject)
    views = _views(backbone)
    first = backbone(views)
    backbone(views[::-1].copy())
    require_same(backbone(views), first, "embed(): a second call with the same views gives other embeddings")
    require_same(_ready(subject)(views), first, "embed(): a second instance with the same options differs")


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""

    def run() -> None:
        backbone = _ready(subject)
        backbone(_views(backbone))

    require_no_global_seed(run, "__init__(), prepare() or embed()")


@CHECKS.check
def sizes(subject: Subject) -> None:
    """``dim`` and both values of ``input_size`` are integers >= 1."""
    backbone = _ready(subject)
    found = (backbone.dim, *backbone.input_size)
    require(
        all(type(value) is int and value >= 1 for value in found) and len(found) == 3,
        f"dim and input_size: expected an int and two ints of at least 1, "
        f"found {backbone.dim!r} and {backbone.input_size!r}",
    )


@CHECKS.root
def normalisation(subject: Subject) -> None:
    """``mean`` has three values in 0..1, ``std`` three above 0, and ``interpolation`` is known."""
    backbone = _ready(subject)
    mean, std, interpolation = backbone.mean, backbone.std, backbone.interpolation
    require(len(mean) == 3 and all(0 <= m <= 1 for m in mean), f"mean: expected three values in 0..1, found {mean!r}")
    require(len(std) == 3 and all(s > 0 for s in std), f"std: expected three values above 0, found {std!r}")
    known = get_args(Interpolation)
    require(interpolation in known, f"interpolation: expected one of {', '.join(known)}, found {interpolation!r}")


@CHECKS.root
def network_gets_what_is_declared(subject: Subject) -> None:
    """A network of torch or ONNX Runtime gets RGB, upright, as ``(view / 255 - mean) / std``.

    A backbone without a network, or one that crops, resizes or normalises in its own way, cannot be judged from
    outside. Compare it with its publisher's code.
    """
    backbone = _ready(subject)
    views = _views(backbone)
    given = input_of_network(backbone, views)
    if given is None:
        raise Skipped("no network of torch or ONNX Runtime gets a batch of three channels")
    found = describe_input(given, views, backbone.mean, backbone.std)
    if found == "other":
        raise Skipped(
            f"its network gets {given.shape[1:]} with values in {given.min():.3g}..{given.max():.3g}, neither "
            "(view / 255 - mean) / std nor a known mistake"
        )
    require(not found, f"embed(): expected its network to get (view / 255 - mean) / std of RGB views, but {found}")


@CHECKS.check
def dtype_is_float32(subject: Subject) -> None:
    """``embed`` returns float32."""
    backbone = _ready(subject)
    values = backbone.embed(_views(backbone))
    right = isinstance(values, np.ndarray) and values.dtype == np.float32
    require(right, f"embed(): expected a float32 array, found {described(values)}")


@CHECKS.root
def embeddings_are_finite(subject: Subject) -> None:
    """Black, white and grey views have finite embeddings too."""
    backbone = _ready(subject)
    flat = [np.full((*backbone.input_size, 3), value, np.uint8) for value in (0, 128, 255)]
    require_finite(backbone(np.stack(flat)), "embed(): embeddings of a black, a grey and a white view")
    require_finite(backbone(_views(backbone)), "embed(): embeddings")


@CHECKS.check
def embeddings_fit_float16(subject: Subject) -> None:
    """Embeddings are stored as float16: at most 65504 in size, and views that differ still differ."""
    backbone = _ready(subject)
    rows = backbone(_views(backbone))
    most = float(np.abs(rows).max())
    require(
        most < 65504, f"embed(): expected values of at most 65504, since they are stored as float16; found {most:.4g}"
    )
    stored = rows.astype(np.float16).astype(np.float32)
    lost = np.abs(stored - rows).max()
    spread = np.abs(rows - rows[:1]).max()
    require(
        spread == 0 or lost < 0.1 * spread,
        f"embed(): expected differences between views that float16 keeps; they are {spread:.2g} at most, and storing "
        f"values of up to {most:.4g} loses {lost:.2g}",
    )


@CHECKS.check
def distinct_views_distinct_rows(subject: Subject) -> None:
    """Clearly different views have different embeddings."""
    backbone = _ready(subject)
    rows = backbone(_views(backbone))
    for row in rows[1:]:
        same = np.allclose(row, rows[0], rtol=1e-6, atol=0)
        require(not same, "embed(): expected different embeddings of noise, a ramp and a disc, found equal ones")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """The embedding of a view does not depend on the other views of its batch."""
    backbone = _ready(subject)
    views = _views(backbone)
    whole = backbone(views)
    scale = float(np.abs(whole).max())
    for row in range(len(views)):
        what = f"embed(): embedding of view {row} alone differs from that in a batch"
        require_close(backbone(views[row : row + 1])[0], whole[row], what, rtol=1e-4, atol=1e-5 * scale)


@CHECKS.check
def tokens(subject: Subject) -> None:
    """Tokens, if there are any, are (B, K, D), finite, and independent of the batch."""
    backbone = _ready(subject)
    views = _views(backbone)
    try:
        values = backbone.tokens(views)
    except PluginError as reason:
        raise Skipped(str(reason)) from reason
    right = values.ndim == 3 and values.shape[0] == len(views) and values.shape[2] == backbone.token_dim
    require(right, f"tokens(): expected shape ({len(views)}, K, {backbone.token_dim}), found {values.shape}")
    require_finite(values, "tokens()")
    scale = float(np.abs(values).max())
    what = "tokens(): tokens of a view alone differ from those in a batch"
    require_close(backbone.tokens(views[:1]), values[:1], what, atol=1e-5 * scale)


@CHECKS.check
def token_grid(subject: Subject) -> None:
    """The grid of tokens, if there is one, has as many places as there are tokens, row by row of the view.

    A change of one quarter of a view has no effect in another quarter of the grid that is more than twice as large.
    """
    backbone = _ready(subject)
    if backbone.token_grid is None:
        raise Skipped("its tokens have no grid")
    views = _views(backbone)[:1]
    try:
        before = backbone(views, "map")
    except PluginError as error:
        raise CheckFailed(str(error)) from error
    rows, columns = before.shape[1] // 2, before.shape[2] // 2
    if not (rows and columns):
        raise Skipped(f"its grid is {before.shape[1]} x {before.shape[2]}")
    height, width = (side // 2 for side in backbone.input_size)
    ends = {"top": (slice(None, height), slice(None, rows)), "bottom": (slice(-height, None), slice(-rows, None))}
    sides = {"left": (slice(None, width), slice(None, columns)), "right": (slice(-width, None), slice(-columns, None))}
    quarters = {(end, side): (*ends[end], *sides[side]) for end in ends for side in sides}
    for name, (high, _, wide, _) in quarters.items():
        changed = views.copy()
        changed[0, high, wide] = 255 - changed[0, high, wide]
        effect = np.abs(backbone(changed, "map") - before)[0].sum(-1)
        effects = {each: float(np.median(effect[up, along])) for each, (_, up, _, along) in quarters.items()}
        found = max(quarters, key=effects.__getitem__)
        message = f"expected the effect of the {' '.join(name)} of a view there, found it at the {' '.join(found)}"
        require(effects[found] <= 2 * effects[name], f"token_grid: {message}")


@CHECKS.check
def what_is_trained_is_what_embeds(subject: Subject) -> None:
    """A network for fine-tuning gives (B, D), and its file, loaded again, embeds like it."""
    backbone = _ready(subject)
    if type(backbone).trainable is Backbone.trainable:
        raise Skipped("it has no trainable()")
    import torch

    network = backbone.trainable(0.0, 0).eval()
    views = _views(backbone)
    mean, std = (np.asarray(values, np.float32) for values in (backbone.mean, backbone.std))
    images = torch.from_numpy(((views / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.05)  # other weights than those of the backbone
        trained = network(images).numpy()
    right = trained.shape == (len(views), backbone.dim)
    require(right, f"trainable(): expected a network to ({len(views)}, {backbone.dim}), found {trained.shape}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "backbone.safetensors"
        file.write_bytes(backbone.export(network, {"trained_on": []}))
        options = backbone.loading(str(file), subject.given())
        again = (BACKBONES.get(backbone.loaded_by) if backbone.loaded_by else type(backbone))(**options)
        again.prepare("cpu", "float32")
        found = again(views)
    what = f"trainable(): embeddings of the exported file, loaded by {', '.join(options)}, differ from its output"
    scale = float(np.abs(trained).max())
    require_close(found, trained, what, rtol=1e-3, atol=1e-3 * scale)


@CHECKS.check
def exported_network_is_what_embeds(subject: Subject) -> None:
    """A network for export gives the embeddings of uint8 views."""
    backbone = _ready(subject)
    if not backbone.gives_network():
        raise Skipped("it has no as_network()")
    import torch

    views = _views(backbone)
    with torch.no_grad():
        found = backbone.as_network(tokens=False).eval()(torch.from_numpy(views)).numpy()
    expected = backbone(views)
    scale = float(np.abs(expected).max())
    require_close(found, expected, "as_network(): its output differs from embed()", rtol=1e-3, atol=1e-3 * scale)


@CHECKS.check
def cost_is_known(subject: Subject) -> None:
    """``cost`` gives parameters and the GFLOP of one view, both >= 0; ``weights`` and ``notes`` give text."""
    backbone = _ready(subject)
    parameters, gflop = backbone.cost()
    require(type(parameters) is int and parameters >= 0, f"cost(): expected an int >= 0 first, found {parameters!r}")
    require(math.isfinite(gflop) and gflop >= 0, f"cost(): expected finite GFLOP >= 0 second, found {gflop!r}")
    require(isinstance(backbone.weights(), str), f"weights(): expected text, found {backbone.weights()!r}")
    found = backbone.random_weights
    require(isinstance(found, bool), f"random_weights: expected a bool, found {found!r}")
    notes = backbone.notes()
    right = isinstance(notes, tuple) and all(isinstance(note, str) for note in notes)
    require(right, f"notes(): expected a tuple of texts, found {notes!r}")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same backbone; workers get it that way."""
    backbone, again = _ready(subject), subject.build_from_text()
    again.prepare("cpu", "float32")
    require(
        again.input_size == backbone.input_size,
        f"built from {subject.text}: expected input_size {backbone.input_size}, found {again.input_size}",
    )
    views = _views(backbone)
    require_same(again(views), backbone(views), f"built from {subject.text}: embeddings differ")


def _ready(subject: Subject) -> Backbone:
    backbone: Backbone = subject.build()
    backbone.prepare("cpu", "float32")
    return backbone


def _views(backbone: Backbone) -> np.ndarray:
    """Return noise, a ramp and a disc."""
    height, width = backbone.input_size
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.repeat((255 * x / max(width - 1, 1)).astype(np.uint8)[..., None], 3, axis=2)
    disc = ((y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2)[..., None]
    return np.stack([noise, ramp, np.where(disc, [230, 180, 150], 20).astype(np.uint8)])
