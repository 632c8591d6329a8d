"""What a traced function costs: floating-point operations and memory.

Both are read off the graph, whose shapes must be static.
"""

import math

import numpy as np

_CONVOLUTIONS = {  # Which tensor holds one entry for each filter position.
    "Conv2D": lambda op: (op.outputs[0], op.inputs[1]),
    "Conv2DBackpropInput": lambda op: (op.inputs[2], op.inputs[1]),
    "Conv2DBackpropFilter": lambda op: (op.inputs[2], op.outputs[0]),
}
# What shares its input's memory.
_VIEWS = ("Identity", "IdentityN", "Reshape", "ExpandDims", "Squeeze",
          "StopGradient", "PreventGradient", "ReadVariableOp")
_NO_MEMORY = ("Placeholder", "Const")  # Counted by whoever made them.


def flops(graph):
    """Floating-point operations of all products and convolutions in a graph.

    A multiplication and an addition are two. Functions that the graph calls
    are counted once for each call, loops `maximum_iterations` times where they
    say so, and else once.
    """
    total = 0
    for op in graph.get_operations():
        if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMul"):
            adjoint = op.type == "MatMul" and op.get_attr("transpose_a")
            adjoint = adjoint or (op.type != "MatMul" and op.get_attr("adj_x"))
            depth = op.inputs[0].shape[-2 if adjoint else -1]
            total += 2 * _size(op.outputs[0]) * depth
        elif op.type == "Einsum":
            letters = op.get_attr("equation").decode().split("->")[0].split(",")
            sizes = {}
            for word, tensor in zip(letters, op.inputs):
                sizes.update(zip(word, tensor.shape))
            total += 2 * math.prod(sizes.values())
        elif op.type in _CONVOLUTIONS:
            images, kernel = _CONVOLUTIONS[op.type](op)
            total += 2 * _size(images) // images.shape[-1] * _size(kernel)
        for inner, times in _inner(graph, op):
            total += times * flops(inner)
    return total


def peak_bytes(graph):
    """Largest sum of the tensors that are alive at once, in bytes.

    The ops run in the order in which they were traced, and a tensor lives from
    its op to the last one that reads it. Arguments, constants and variables
    are not part of it. XLA and the executor choose orders of their own, and XLA
    fuses what never needs memory: this is an estimate, on the safe side.
    """
    ops = graph.get_operations()
    owner, last = {}, {}  # Tensor -> the one that holds its memory; last use.
    for i, op in enumerate(ops):
        for tensor in op.inputs:
            last[owner.get(tensor.ref(), tensor.ref())] = i
        for j, tensor in enumerate(op.outputs):
            if op.type in _VIEWS and op.inputs:
                source = op.inputs[j].ref()
                owner[tensor.ref()] = owner.get(source, source)
    for tensor in graph.outputs:
        last[owner.get(tensor.ref(), tensor.ref())] = len(ops)
    ends = {}
    for ref, i in last.items():
        ends.setdefault(i, []).append(ref)
    alive, peak, sizes = 0, 0, {}
    for i, op in enumerate(ops):
        for tensor in op.outputs:
            if op.type not in _VIEWS + _NO_MEMORY and tensor.ref() in last:
                sizes[tensor.ref()] = _size(tensor) * _width(tensor.dtype)
                alive += sizes[tensor.ref()]
        inside = max((peak_bytes(f) for f, _ in _inner(graph, op)), default=0)
        peak = max(peak, alive + inside)
        alive -= sum(sizes.pop(ref, 0) for ref in ends.get(i, ()))
    return peak


def _inner(graph, op):
    """(graph, how often it runs) for what an op calls."""
    names = []
    if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
        names = ["f"]
    elif op.type in ("While", "StatelessWhile"):
        names = ["body"]
    elif op.type in ("If", "StatelessIf"):
        names = ["then_branch"]
    for name in names:
        inner = graph._get_function(  # pylint: disable=protected-access
            op.get_attr(name).name).graph
        yield inner, _iterations(op) if name == "body" else 1


def _iterations(op):
    """The largest number of turns of a While, where it is a constant; else 1.

    TensorFlow keeps it as the loop's second variable.
    """
    limit = op.inputs[1].op
    if limit.type != "Const":
        return 1
    value = limit.get_attr("value")
    turns = value.int_val[0] if value.int_val else 1
    return max(turns, 1)


def _size(tensor):
    """Number of elements; 0 of what has no static shape, such as a handle."""
    if not tensor.shape.is_fully_defined():
        return 0
    return int(np.prod(tensor.shape.as_list(), dtype=np.int64))


def _width(dtype):
    return 0 if dtype.name in ("resource", "variant", "string") else dtype.size
