"""Files of named tensors: weights in, tensors only, names and shapes checked.

A run's weights are a safetensors file under the model's own names. Authors' checkpoints are what
their scripts wrote, mostly by `torch.save`, under names of theirs. Which of the two a file is, is
read from its first bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from llie_core.files import reason_of

# What training scripts keep their weights under; where there are averaged ones, those.
WRAPPERS = ("params_ema", "state_dict", "model_state_dict", "model", "params", "net")
SHOWN = 3  # differences named in a message


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a safetensors file (tensors only); names and shapes must match, or one line says how.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not readable, or tensors missing, unexpected or of another shape.
    """
    path = _existing(path)
    try:
        tensors = load_file(path)
    except Exception as error:
        raise ValueError(f"{path}: not a readable safetensors file ({reason_of(error)})") from error
    check_tensors(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)


def load_in_order(model: nn.Module, tensors: Sequence[Tensor], source: object) -> None:
    """Load tensors without names, in the order of the model's own; counts of batches are left out.

    Args:
        source: where they come from, for the message.

    Raises:
        ValueError: more or fewer tensors, or other shapes.
    """
    own = {n: v for n, v in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    if len(tensors) != len(own):
        raise ValueError(f"{source}: {len(tensors)} tensors, the model needs {len(own)}")
    state = dict(zip(own, tensors, strict=True))
    check_tensors(state, own, source)
    model.load_state_dict(state, strict=False)


def read_released(
    path: str | Path, expected: Mapping[str, Tensor], safetensors: bool = False, without: str = ""
) -> dict[str, Tensor]:
    """State dict of an authors' checkpoint, under the names of `expected`.

    A dict that holds the weights under one of WRAPPERS is unwrapped, and DataParallel's "module."
    is taken off the names.

    Args:
        path: a file written by `torch.save`.
        expected: the names and, by their values, the shapes that must be there, and no others.
        safetensors: the authors use such files, too. Otherwise one is taken for a run's.
        without: names that end so, which some versions of a file hold, are not read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a tensors-only checkpoint, or other names or shapes; one line.
    """
    if not safetensors and looks_like_safetensors(_existing(path)):
        raise ValueError(
            f"{path}: a safetensors file, as runs write them, not the authors' checkpoint; load it "
            "as the weights of a run"
        )
    state = read_tensors(path)
    if without:
        state = {name: value for name, value in state.items() if not name.endswith(without)}
    check_tensors(state, expected, path)
    return state


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Name → tensor of a checkpoint: a safetensors file, or one written by `torch.save`.

    It is unwrapped as `read_released` says. Nothing but tensors and plain containers is read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a tensors-only checkpoint; one line.
    """
    path = _existing(path)
    try:
        if looks_like_safetensors(path):
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
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def looks_like_safetensors(path: str | Path) -> bool:
    """Whether a file starts as safetensors do: the length of the header, then its brace."""
    with Path(path).open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{"


def check_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: object
) -> None:
    """Raise ValueError, one line, naming missing, unexpected and misshapen tensors.

    Args:
        found, expected: tensors by name; of `expected` only the shapes matter.
        source: the file, for the message.
    """
    wrong = [f"tensor {name!r} is missing" for name in expected if name not in found]
    wrong += [f"tensor {name!r} is unexpected" for name in found if name not in expected]
    wrong += [
        f"tensor {name!r} has shape {tuple(found[name].shape)}, the model needs "
        f"{tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        more = f" (and {len(wrong) - SHOWN} more)" if len(wrong) > SHOWN else ""
        raise ValueError(f"{source}: another model's weights: {'; '.join(wrong[:SHOWN])}{more}")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    return path


def _unwrapped(content: object) -> object:
    """The dict under the first of WRAPPERS that there is, else the content itself."""
    if isinstance(content, dict):
        for key in WRAPPERS:
            if isinstance(content.get(key), dict):
                return content[key]
    return content
