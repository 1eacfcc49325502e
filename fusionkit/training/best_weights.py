"""The files of the kept epoch: a backbone for the bench with its classifier, or a joint network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.artifact import write_artifact
from fusionkit.contracts.backbone import Backbone

if TYPE_CHECKING:
    from torch import Tensor

    from fusionkit.training.joint import ViewNetwork

BACKBONE, HEAD, JOINT = "backbone.safetensors", "head.safetensors", "network.safetensors"
KEY = "fusionkit-classifier"  # of the safetensors header: a classifier is no encoder


def write_best(
    folder: Path, backbone: Backbone, network: ViewNetwork, about: Mapping[str, Any], *, alone: bool
) -> None:
    """Write the network as it is, whole or not at all.

    Of one view: ``backbone.safetensors``, which an option of the backbone takes, and ``head.safetensors`` with the
    classifier's ``weight`` (C, D) and ``bias`` (C,) on the embedding. Of several: ``network.safetensors``.

    Args:
        folder: is replaced.
        backbone: of which kind the trunk is.
        network: what was trained.
        about: plain data on where it comes from.
        alone: whether it is of one view.

    Raises:
        StorageError: if it cannot be written.
    """
    told = dict(about)
    if not alone:
        write_artifact(folder, {JOINT: _saved(network.state_dict(), told)}, told)
        return
    files = {BACKBONE: backbone.export(network.trunk, told), HEAD: _saved(network.head.state_dict(), told)}
    write_artifact(folder, files, told)


def _saved(state: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    flat = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    found: bytes = save(flat, metadata={KEY: json.dumps(about, sort_keys=True)})
    return found
