"""Reading authors' checkpoints: tensors only, names and shapes checked."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

WRAPPERS = ("state_dict", "model")  # what training scripts keep their weights under


def read_released(path: str | Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of a file, each tensor under the name that `expected` gives it.

    A dict that holds the weights under "state_dict" or "model" is unwrapped, and DataParallel's
    "module." is taken off the names.

    Args:
        path: a file written by `torch.save`, or a .safetensors one.
        expected: the names and, by their values, the shapes that must be there, and no others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a tensors-only checkpoint, or other names or shapes; one line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; put the authors' file there")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged pickles raise almost any exception (documentation of the pickle module).
    except Exception as error:
        raise ValueError(
            f"{path}: not a tensors-only checkpoint ({type(error).__name__})"
        ) from error
    state = _unwrapped(content)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(state).__name__}")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    wrong = _differences(state, expected)
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise ValueError(f"{path}: other weights than this model's: {'; '.join(wrong[:3])}{more}")
    return state


def _unwrapped(content):
    """The dict under the first of WRAPPERS that there is, else the content itself."""
    if isinstance(content, dict):
        for key in WRAPPERS:
            if isinstance(content.get(key), dict):
                return content[key]
    return content


def _differences(state: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """What is missing, what is too much, and what has another shape, in words."""
    missing = [f"{name} is missing" for name in expected if name not in state]
    strange = [f"{name} is not of this model" for name in state if name not in expected]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    return missing + strange + shapes
