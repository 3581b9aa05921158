"""The offline judge's network as an ONNX graph: token ids in, the three digits' logits out. Needs the extra `train`.

Weights and activations are multiplied as integers: a scale for each column of a matrix, and one for each token's row,
worked out as it comes (LLM.int8, Dettmers et al., 2022, section 2.2). Weights have 7 bits, so that no processor's
16-bit sums overflow. The graph holds no weights, it names their places in the weights' file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scsafety.judge.layout import slots

if TYPE_CHECKING:
    from scsafety.judge.decoder import Shape

OPSET = 18
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
UNSEEN = -1e9


def build_graph(shape: Shape, n_layers: int, weights_file: str) -> bytes:
    """Input `ids` int64 (n,); output `logits` float32 (1, 3) after the last of them. Raises ImportError without onnx."""

    from onnx import TensorProto, helper

    g = _Graph()
    for slot in slots(shape, n_layers):
        g.outside(slot.name, slot.dtype, slot.shape, weights_file, slot.offset, slot.n_bytes)
    rows = g.op("Cast", g.op("Gather", "embedding", "ids", axis=0), to=TensorProto.FLOAT)
    x = g.op("Mul", rows, g.op("Gather", "embedding.scales", "ids", axis=0))
    turn, mask = _positions(g, shape)
    for n in range(n_layers):
        x = _layer(g, shape, x, n, turn, mask, is_last=n == n_layers - 1)
    logits = g.op("MatMul", _normed(g, shape, x, "last_norm"), "digits")
    graph = helper.make_graph(
        [*g.nodes, helper.make_node("Identity", [logits], ["logits"])],
        "offline judge",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        g.arrays,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)], producer_name="scsafety"
    )
    model.ir_version = 9
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and arrays as they are named; each method gives the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self._known: dict[tuple[Any, ...], str] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, n_outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        from onnx import helper

        outputs = [f"n{len(self.nodes)}.{k}" for k in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def array(self, value: Any, dtype: str) -> str:
        from onnx import numpy_helper

        key = (dtype, np.shape(value), *np.ravel(value).tolist())
        if key not in self._known:
            self._known[key] = f"c{len(self._known)}"
            self.arrays.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), self._known[key]))
        return self._known[key]

    def outside(self, name: str, dtype: str, shape: tuple[int, ...], file: str, offset: int, n_bytes: int) -> None:
        from onnx import TensorProto, helper

        tensor = TensorProto(name=name, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        for key, value in (("location", file), ("offset", offset), ("length", n_bytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.arrays.append(tensor)


def _positions(g: _Graph, shape: Shape) -> tuple[tuple[str, str], str]:
    """Cosine and sine (n, 1, head) of the rotary positions, and the mask (n, n) that hides what comes later."""
    from onnx import TensorProto

    n = g.op("Squeeze", g.op("Shape", "ids"))
    at = g.op("Range", g.array(0, "int64"), n, g.array(1, "int64"))
    column, row = g.op("Unsqueeze", at, g.array([1], "int64")), g.op("Unsqueeze", at, g.array([0], "int64"))
    angles = g.op("Mul", g.op("Cast", column, to=TensorProto.FLOAT), g.array(shape.frequencies()[None], "float32"))
    both = g.op("Unsqueeze", g.op("Concat", angles, angles, axis=-1), g.array([1], "int64"))
    later = g.op("Less", column, row)
    mask = g.op("Where", later, g.array(UNSEEN, "float32"), g.array(0.0, "float32"))
    return (g.op("Cos", both), g.op("Sin", both)), mask


def _layer(g: _Graph, shape: Shape, x: str, n: int, turn: tuple[str, str], mask: str, *, is_last: bool) -> str:
    sides = _linear(g, _normed(g, shape, x, f"{n}.attention_norm"), f"{n}.qkv")
    sides = g.op("Add", sides, f"{n}.qkv_bias")
    q, k, v = g.ops("Split", 3, sides, g.array(shape.heads, "int64"), axis=-1)
    seen = _attention(g, shape, _turned(g, shape, q, turn), _turned(g, shape, k, turn), _split(g, shape, v), mask)
    if is_last:  # only the last token's answer is wanted
        last = g.array([-1], "int64")
        seen, x = g.op("Gather", seen, last, axis=0), g.op("Gather", x, last, axis=0)
    x = g.op("Add", x, _linear(g, seen, f"{n}.output"))
    gate, up = g.ops(
        "Split", 2, _linear(g, _normed(g, shape, x, f"{n}.inner_norm"), f"{n}.gate_up"), axis=-1, num_outputs=2
    )
    inner = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
    return g.op("Add", x, _linear(g, inner, f"{n}.down"))


def _normed(g: _Graph, shape: Shape, x: str, weights: str) -> str:
    return g.op("SimplifiedLayerNormalization", x, weights, axis=-1, epsilon=shape.epsilon)


def _linear(g: _Graph, x: str, matrix: str) -> str:
    """(n, out): each row of x as integers around 128, times the matrix of integers, and both scales put back."""
    from onnx import TensorProto

    largest = g.op("ReduceMax", g.op("Abs", x), g.array([-1], "int64"))
    scale = g.op("Div", g.op("Max", largest, g.array(1e-8, "float32")), g.array(127.0, "float32"))
    rounded = g.op("Add", g.op("Round", g.op("Div", x, scale)), g.array(128.0, "float32"))
    whole = g.op("Cast", rounded, to=TensorProto.UINT8)
    product = g.ops(
        "MatMulIntegerToFloat",
        1,
        whole,
        matrix,
        g.array(1.0, "float32"),
        f"{matrix}.scales",
        g.array(128, "uint8"),
        domain=CONTRIB,
    )[0]
    return g.op("Mul", product, scale)


def _split(g: _Graph, shape: Shape, x: str) -> str:
    """(n, heads, head)"""
    return g.op("Reshape", x, g.array([0, -1, shape.head], "int64"))


def _turned(g: _Graph, shape: Shape, x: str, turn: tuple[str, str]) -> str:
    x = _split(g, shape, x)
    first, second = g.ops("Split", 2, x, axis=-1, num_outputs=2)
    aside = g.op("Concat", g.op("Neg", second), first, axis=-1)
    return g.op("Add", g.op("Mul", x, turn[0]), g.op("Mul", aside, turn[1]))


def _attention(g: _Graph, shape: Shape, q: str, k: str, v: str, mask: str) -> str:
    """(n, width) from queries (n, heads, head), keys and values (n, kv_heads, head)."""
    one = g.array([1], "int64")
    groups = g.array([shape.n_kv_heads, shape.n_heads // shape.n_kv_heads, -1, shape.head], "int64")
    q = g.op("Reshape", g.op("Transpose", q, perm=[1, 0, 2]), groups)
    k = g.op("Unsqueeze", g.op("Transpose", k, perm=[1, 2, 0]), one)
    v = g.op("Unsqueeze", g.op("Transpose", v, perm=[1, 0, 2]), one)
    weights = g.op("Mul", g.op("MatMul", q, k), g.array(shape.head**-0.5, "float32"))
    seen = g.op("MatMul", g.op("Softmax", g.op("Add", weights, mask), axis=-1), v)
    heads = g.op("Reshape", seen, g.array([shape.n_heads, -1, shape.head], "int64"))
    return g.op("Reshape", g.op("Transpose", heads, perm=[1, 0, 2]), g.array([0, shape.width], "int64"))
