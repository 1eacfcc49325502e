"""Groups of parameters for an optimiser: which are decayed, and which learn more slowly the nearer to the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusionkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from fusionkit.training.joint import ViewNetwork


def parameter_groups(network: ViewNetwork, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups with ``weight_decay`` and ``lr_scale``, a factor on the learning rate.

    Biases, norms and what timm's model names (class token, positions) are not decayed. With ``layer_decay`` below 1
    each layer of the trunk learns at that times the rate of the layer after it; a stream's layer learns as the trunk's
    of the same name. The deepest layer, classifiers and projections have the full rate.

    Raises:
        ConfigError: if ``layer_decay`` is below 1 and the trunk does not say which layers it has.

    Reference:
        Layer-wise decay: Clark et al., ELECTRA, ICLR 2020; for vision transformers Bao et al., BEiT, ICLR 2022. Layers
        are those of timm's ``group_matcher``.
    """
    trunk: Any = network.trunk
    spared = set(trunk.no_weight_decay()) if hasattr(trunk, "no_weight_decay") else set()
    scales = _layer_scales(trunk, layer_decay) if layer_decay < 1 else {}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        own = _own_name(name)
        decay = 0.0 if parameter.ndim <= 1 or own in spared else weight_decay
        scale = scales.get(own, 1.0) if own else 1.0
        group = groups.setdefault((scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay})
        group["params"].append(parameter)
    return list(groups.values())


def _own_name(name: str) -> str:
    """The name of a parameter inside the trunk or a stream; empty for what is new."""
    part, _, rest = name.partition(".")
    if part == "trunk":
        return rest
    return rest.partition(".")[2] if part == "streams" else ""


def _layer_scales(trunk: nn.Module, layer_decay: float) -> dict[str, float]:
    """The factor of each parameter, by name."""
    from timm.models import group_parameters

    model: Any = trunk
    if not hasattr(model, "group_matcher"):
        raise ConfigError(
            f"recipe: layer_decay = {layer_decay}: {type(trunk).__name__} does not say which layers it has",
            hint="layer_decay=1",
        )
    layers: dict[str, int] = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {name: layer_decay ** (last - layer) for name, layer in layers.items()}
