"""The reader of protocol buffers, on bytes laid out by hand."""

import numpy as np
import pytest
import torch

from llie_core.recognizers.graphs import fields, onnx_convolutions, tensorflow_constants


def varint(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, *content):
    joined = b"".join(c.encode() if isinstance(c, str) else c for c in content)
    return varint(field << 3 | 2) + varint(len(joined)) + joined


def test_fields_by_hand():
    """The examples of the format's own documentation: 150 in field 1, "testing" in field 2."""
    found = list(fields(bytes.fromhex("089601") + bytes.fromhex("120774657374696e67")))
    assert found[0] == (1, 150) and (found[1][0], bytes(found[1][1])) == (2, b"testing")
    fixed = varint(3 << 3 | 5) + b"abcd" + varint(4 << 3 | 1) + b"12345678"
    assert [(n, bytes(v)) for n, v in fields(fixed)] == [(3, b"abcd"), (4, b"12345678")]


@pytest.mark.parametrize("cut", [b"\x12\x07test", b"\x08\x96", b"\x0b", b"\x08" + b"\xff" * 11])
def test_bytes_that_are_no_message(cut):
    with pytest.raises(ValueError, match="protocol buffer"):
        list(fields(cut))


def onnx_tensor(name, array):
    dims = b"".join(number(1, n) for n in array.shape)
    return block(5, dims, number(2, 1), block(8, name), block(9, array.astype("<f4").tobytes()))


def onnx_node(name, kind, *inputs):
    return block(1, *(block(1, i) for i in inputs), block(3, name), block(4, kind))


def test_convolutions_of_an_onnx_graph():
    weight, bias = np.arange(6).reshape(2, 3, 1, 1), np.array([7.0, 8.0])
    graph = block(
        7,
        onnx_node("first", "Conv", "x", "w", "b"),
        onnx_node("act", "Relu", "y"),
        onnx_node("again", "Conv", "z", "w_copy", "b_copy"),  # through Identity nodes
        onnx_tensor("w", weight),
        onnx_tensor("b", bias),
    )
    found = onnx_convolutions(number(1, 6) + graph)
    assert list(found) == ["first"]
    torch.testing.assert_close(found["first"][0], torch.tensor(weight).float())
    torch.testing.assert_close(found["first"][1], torch.tensor([7.0, 8.0]))


def tf_constant(name, array, kind=1):
    dims = b"".join(block(2, number(1, n)) for n in array.shape)
    tensor = number(1, kind) + block(2, dims) + block(4, array.astype("<f4").tobytes())
    return block(
        1, block(1, name), block(2, "Const"), block(5, block(1, "dtype"), block(2, number(6, 1))),
        block(5, block(1, "value"), block(2, block(8, tensor))),
    )  # fmt: skip


def test_constants_of_a_tensorflow_graph():
    array = np.arange(4.0).reshape(1, 4)
    identity = block(1, block(1, "a/read"), block(2, "Identity"), block(3, "a"))
    graph = tf_constant("a", array) + identity + tf_constant("integers", array, kind=3)
    found = tensorflow_constants(graph + tf_constant("b", array + 1))
    assert list(found) == ["a", "b"]
    torch.testing.assert_close(found["b"], torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
