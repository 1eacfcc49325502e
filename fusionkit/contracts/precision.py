"""In which precision a piece of hardware computes fast."""

from __future__ import annotations


def has_native_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies in bfloat16 instead of emulating it; emulated, it is slower than float32.

    Args:
        device: ``cpu``, ``cuda:0``, ...
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
