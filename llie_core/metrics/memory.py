"""Peak memory of one forward pass, counted: weights and the tensors that are alive at once.

The pass runs on the meta device, so it needs no memory itself and any size can be counted, 4K too.
What a library allocates besides (workspaces of convolutions, caches, fragmentation) is not seen;
a framework that fuses layers, or keeps tensors longer than Python does, differs.
"""

import copy
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def peak_memory(model: torch.nn.Module, size: tuple[int, int], method: str = "forward") -> int:
    """Largest number of bytes held at once while `model` works on one RGB image, without gradients.

    Args:
        model: a network `(1, 3, H, W)` → tensor. Weights, buffers and the image are counted too.
        size: (H, W) in pixels.
        method: name of the method to count ("forward_half" for NEID's ×2 core, say).

    Raises:
        ValueError: the network cannot run without values.
    """
    twin = copy.deepcopy(model).to("meta").eval()
    held = sum(t.numel() * t.element_size() for t in (*twin.parameters(), *twin.buffers()))
    live = _LiveTensors()
    try:
        with torch.no_grad(), live:
            image = torch.empty(1, 3, *size, device="meta")  # the caller's, so alive throughout
            getattr(twin, method)(image)
    except (RuntimeError, TypeError) as error:
        name = type(model).__name__
        raise ValueError(
            f"cannot count {name}.{method} at {size[0]}×{size[1]} without values: {error}"
        ) from error
    return held + live.peak


class _LiveTensors(TorchDispatchMode):
    """Follows every storage that operations return, until it is freed."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor):
                self._follow(value.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, count: int) -> None:
        self.now -= count
