"""Weights inside files of whole networks: ONNX models and TensorFlow graphs.

Both are protocol buffers: nested lists of (number of the field, value). Constants alone are read,
in the file's order; nothing is run, and neither library is needed.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

FLOAT32 = 1  # code of the type, in both formats
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: integers as int, anything else as its bytes.

    Raises:
        ValueError: the bytes are no message, or end within one.
    """
    data, at = memoryview(message), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = _varint(data, at)
        elif kind in FIXED_SIZES:
            length = FIXED_SIZES[kind]
        else:
            raise ValueError(f"not a protocol buffer: wire type {kind}")
        if at + length > len(data):
            raise ValueError("a protocol buffer that ends early")
        yield number, data[at : at + length]
        at += length


def onnx_convolutions(model: bytes) -> dict[str, tuple[Tensor, Tensor]]:
    """Node → weight (O, I, kh, kw) and bias (O,) of the convolutions, in the graph's order.

    Those whose weights are another convolution's, used once more, are left out.
    """
    graph = _one(model, 7)
    tensors = {}
    for number, value in fields(graph):
        if number == 5:  # initializer: dims 1, data_type 2, name 8, raw_data 9
            parts = list(fields(value))
            shape = [size for one, size in parts if one == 1]
            tensors[_text(_one(value, 8))] = _float32(_one(value, 9), shape, _one(value, 2))
    found = {}
    for number, node in fields(graph):
        if number == 1 and _text(_one(node, 4)) == "Conv":  # node: input 1, name 3, op_type 4
            inputs = [_text(value) for one, value in fields(node) if one == 1]
            if all(name in tensors for name in inputs[1:]):
                weight, bias = (tensors[name] for name in inputs[1:])
                found[_text(_one(node, 3))] = (weight, bias)
    return found


def tensorflow_constants(graph: bytes) -> dict[str, Tensor]:
    """Name → value of the float constants of a GraphDef that have a shape, in its order."""
    found = {}
    for _, node in fields(graph):
        if isinstance(node, int):
            continue
        parts = list(fields(node))  # name 1, op 2, attr 5
        if b"Const" not in [bytes(value) for number, value in parts if number == 2]:
            continue
        attributes = {_text(_one(v, 1)): _one(v, 2) for number, v in parts if number == 5}
        tensor = _one(attributes["value"], 8)
        content = [value for number, value in fields(tensor) if number == 4]
        if _one(tensor, 1) == FLOAT32 and content:
            sizes = [_one(value, 1) for number, value in fields(_one(tensor, 2)) if number == 2]
            found[_text(parts[0][1])] = _float32(content[0], sizes, FLOAT32)
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, least first, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a protocol buffer that ends early")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _one(message: bytes | memoryview, wanted: int):
    """The first value of a field."""
    return next(value for number, value in fields(message) if number == wanted)


def _text(value: int | memoryview) -> str:
    return bytes(value).decode()


def _float32(content: memoryview, shape: list[int], kind: int) -> Tensor:
    if kind != FLOAT32:
        raise ValueError(f"weights of type {kind}, not float32")
    return torch.from_numpy(np.frombuffer(content, "<f4").astype(np.float32).reshape(shape))
