"""A GPU that is not there: tensors on ``cuda:0`` that compute on the processor, for tests of what runs on a GPU.

It refuses what a GPU refuses, operations between its tensors and those of the processor. A copy that does not block is
carried out when the processor next waits for the GPU: until then, what it reads must not change, and what it writes
holds no values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
_COPIES = ("_to_copy", "copy_")
# Operations that take indices or lengths of the processor, and operations whose result is known to the processor.
_MIXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_pack_padded_sequence")
_READ = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount")


class _OnGpu(Tensor):
    """A tensor of the stand-in. For torch it is on the device ``meta``, for which no kernel or stream is needed."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        found: Self = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
            requires_grad=held.requires_grad,
        )
        found.held = held.detach()
        return found

    device = GPU  # type: ignore[assignment]
    is_cuda, is_meta = True, False  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert StandInGpu.present is not None, "a tensor of the stand-in is used after its end"
        return StandInGpu.present.run(func, args, kwargs or {})


class StandInGpu(TorchDispatchMode):
    """Sends operations to the processor that computes for the GPU.

    Attributes:
        waits: how often the processor waited for the GPU.
    """

    present: ClassVar[StandInGpu | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0
        self.pending: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def wait(self) -> None:
        """Carry out the copies that do not block."""
        self.waits += 1
        pending, self.pending = self.pending, []
        for copy in pending:
            copy()

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = func.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [isinstance(x, _OnGpu) for x in tensors]
        target = any(here)
        if target and name not in _COPIES and not (name in _MIXED and here[0]):
            others = [tuple(x.shape) for x, there in zip(tensors, here, strict=True) if not there and x.dim()]
            if others:
                raise RuntimeError(f"{name}: expected all tensors to be on cuda:0, but found some of {others} on cpu")
        kwargs = {key: value for key, value in kwargs.items() if key != "pin_memory"}
        if kwargs.get("device") is not None:
            target = torch.device(kwargs["device"]).type in ("cuda", "meta")
            kwargs["device"] = torch.device("cpu")
        from_gpu = bool(here) and here[-1 if name == "copy_" else 0]
        if name == "copy_":
            target = here[0]
        later = len(args) > 2 and args[2] is True if name == "copy_" else kwargs.get("non_blocking", False)
        given = tree_map(_held, (args, kwargs))
        if name in _COPIES and later and target != from_gpu:
            found = self._copied_later(func, *given, of_gpu=from_gpu)
        else:
            if from_gpu and ((name in _COPIES and not target) or name in _READ or _by_mask(name, args)):
                self.wait()
            found = func(*given[0], **given[1])
        if not target:
            return found
        own = {id(x.held): x for x in tensors if isinstance(x, _OnGpu)}  # that an operation in place returns
        return tree_map(lambda x: own[id(x)] if id(x) in own else _wrapped(x), found)

    def _copied_later(self, func: Any, args: Any, kwargs: dict[str, Any], *, of_gpu: bool) -> Tensor:
        found: Tensor = func(*args, **kwargs)
        if of_gpu:
            values = found.clone()
            found.fill_(float("nan") if found.is_floating_point() else 77)
            self.pending.append(lambda: found.copy_(values))
            return found
        source = args[1] if func.overloadpacket.__name__ == "copy_" else args[0]
        before = source.clone()

        def check() -> None:
            assert torch.equal(source, before), "memory was written while it was copied to the GPU"

        self.pending.append(check)
        return found


class _WithIndex(TorchFunctionMode):
    """Reads ``cuda`` as ``cuda:0``, for which torch would ask the driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_with_index, (args, kwargs or {}))
        return func(*args, **kwargs)


def _with_index(x: Any) -> Any:
    return GPU if (isinstance(x, str) and x == "cuda") or (isinstance(x, torch.device) and x.type == "cuda") else x


def _by_mask(name: str, args: Any) -> bool:
    indices = args[1] if name.removeprefix("_unsafe_") == "index" else ()
    return any(isinstance(x, Tensor) and x.dtype == torch.bool for x in indices)


def _held(x: Any) -> Any:
    return x.held if isinstance(x, _OnGpu) else x


def _wrapped(x: Any) -> Any:
    return _OnGpu(x) if isinstance(x, Tensor) and not isinstance(x, _OnGpu) else x


@contextmanager
def stand_in_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInGpu]:
    """Let torch find one GPU. Tensors of it end with the context."""
    gpu = StandInGpu()
    event = SimpleNamespace(synchronize=gpu.wait)
    stream = SimpleNamespace(wait_stream=lambda _: None, record_event=lambda: event, synchronize=gpu.wait)
    stand_ins: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "synchronize": lambda *_: gpu.wait(),
        "get_device_capability": lambda *_: (8, 0),
        "get_device_name": lambda *_: "stand-in",
        "mem_get_info": lambda *_: (2**33, 2**33),
        "is_current_stream_capturing": lambda: False,
        "empty_cache": lambda: None,
        "manual_seed_all": lambda _: None,
        "current_stream": lambda *_: stream,
        "Stream": lambda *_: stream,
        "stream": lambda _: nullcontext(),
        "cudart": lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda _: 0),
    }
    with monkeypatch.context() as patch:
        for name, value in stand_ins.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)  # asked for its streams by optimisers
        patch.setattr(torch, "inference_mode", torch.no_grad)  # which a tensor of another class does not survive
        patch.setattr(Tensor, "record_stream", lambda *_: None)
        patch.setattr(StandInGpu, "present", gpu)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with gpu, _WithIndex():
                yield gpu
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
