"""Published weights of a timm model: from the local cache where they are there, else from the hub if it answers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from fusionkit.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

PROBE_SECONDS = 5.0
LOCAL_WEIGHTS = "give checkpoint=FILE with local weights"


def weight_source(name: str, config: Any) -> dict[str, Any]:
    """What to change in a model's pretrained config so that loading neither retries nor waits.

    Cached weights are read as a file: asking the hub whether they are still the newest would cost half a minute of
    retries where there is no network, and might change results between two runs.

    Args:
        name: of the model, for messages.
        config: the model's ``timm.models.PretrainedCfg``.

    Raises:
        ConfigError: if no weights of this model were published.
        DataError: if the weights are not in the cache and the hub does not answer.
    """
    if not config.has_weights:
        raise ConfigError(f"timm: no pretrained weights were published for {name}", hint=LOCAL_WEIGHTS)
    if not config.hf_hub_id:
        return {}  # a plain address: it fails at once by itself
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = config.hf_hub_id.partition("@")
    asked = config.hf_hub_filename or "pytorch_model.bin"
    filename = asked.replace("pytorch_model.bin", "model.safetensors")
    if filename.endswith(".safetensors"):
        cached = try_to_load_from_cache(repository, filename, revision=revision or None)
        if isinstance(cached, str):
            own_format = bool(config.hf_hub_filename) and config.custom_load == "hf"
            return {"file": cached, "custom_load": own_format}
    if reason := _silence_of_hub():
        raise DataError(
            f"timm: the pretrained weights of {name} are not in the local cache, and the hub does not answer: {reason}",
            hint=LOCAL_WEIGHTS,
        )
    return {}


def state_digest(model: nn.Module) -> str:
    """Hash of a model's weights (16 hex digits): a publisher may give out others under the same name."""
    import torch

    state = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        state.update(f"{name} {tuple(values.shape)}".encode())
        state.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return state.hexdigest()[:16]


def _silence_of_hub() -> str:
    """Why the hub does not answer one request; empty where it does."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception as error:  # noqa: BLE001 - each HTTP client the hub's library has used raises its own kinds
        return next(iter(str(error).splitlines()), "") or type(error).__name__
    return ""
