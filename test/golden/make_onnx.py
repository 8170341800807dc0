"""Writes tiny.onnx and tiny-half.onnx with the official onnx package, for a network of every kind of layer.

    python3 test/golden/make_onnx.py

Our writer must give the same bytes (src/model/onnx/onnx.test.ts). Values follow a formula that is exact in half
precision. Needs Debian's python3-onnx (1.12).
"""

import math
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).parent

SHAPES = {
    "conv1.weight": [3, 2, 3, 2],
    "conv1.bias": [3],
    "1.weight": [3],
    "1.bias": [3],
    "1.running_mean": [3],
    "1.running_var": [3],
    "4.weight": [4, 3, 1, 1],
    "8.weight": [3, 48],
    "9.running_mean": [3],
    "9.running_var": [3],
    "10.weight": [2, 3],
    "10.bias": [2],
}


def values(index, name, shape):
    """The values of the tensor at `index`; those of a variance are positive."""
    steps = (7 * numpy.arange(math.prod(shape)) + 3 * index) % 11
    return ((steps + 1 if name.endswith("running_var") else steps - 5) / 8).astype(numpy.float32)


def tensor(name, shape, data):
    kind = TensorProto.FLOAT16 if data.dtype == numpy.float16 else TensorProto.FLOAT
    return helper.make_tensor(name, kind, shape, data.tobytes(), raw=True)


def node(operator, inputs, output, name=None, **attributes):
    return helper.make_node(operator, inputs, [output], name=name or output, **attributes)


def write(path, half, softmax, preprocess):
    nodes, tensors, casts = [], [], {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        casts[name] = [name, shape, values(index, name, shape)]

    def weight(name):
        _, shape, data = casts[name]
        is_half = half and len(shape) > 1
        tensors.append(tensor(name, shape, data.astype(numpy.float16) if is_half else data))
        if not is_half:
            return name
        nodes.append(node("Cast", [name], f"{name} float32", to=1))
        return f"{name} float32"

    def constant(name, shape, data):
        tensors.append(tensor(name, shape, numpy.array(data, dtype=numpy.float32)))
        return name

    last = "images"
    if preprocess:
        # x / 255 normalized by mean 0.5, 0.25 and deviation 0.25, 0.5.
        deviations = numpy.array([0.25, 0.5])
        scale = constant("preprocess.scale", [2, 1, 1], 1 / (255 * deviations))
        nodes.append(node("Mul", [last, scale], "preprocess scaled"))
        offset = constant("preprocess.offset", [2, 1, 1], -numpy.array([0.5, 0.25]) / deviations)
        nodes.append(node("Add", ["preprocess scaled", offset], "preprocess"))
        last = "preprocess"
    inputs = [last, weight("conv1.weight"), weight("conv1.bias")]
    nodes.append(node("Conv", inputs, "conv1", kernel_shape=[3, 2], pads=[1, 0, 1, 0], strides=[1, 1]))
    inputs = ["conv1"] + [weight(f"1.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
    nodes.append(node("BatchNormalization", inputs, "1", epsilon=1e-5))
    nodes.append(node("Relu", ["1"], "2"))
    nodes.append(node("MaxPool", ["2"], "3", kernel_shape=[2, 1], pads=[0, 0, 0, 0], strides=[2, 1]))
    inputs = ["3", weight("4.weight")]
    nodes.append(node("Conv", inputs, "4", kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1]))
    pool = {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [1, 2], "count_include_pad": 1}
    nodes.append(node("AveragePool", ["4"], "5", **pool))
    nodes.append(node("Flatten", ["5"], "6", axis=1))
    nodes.append(node("Gemm", ["6", weight("8.weight")], "8", transB=1))
    inputs = ["8", constant("9.weight", [3], [1] * 3), constant("9.bias", [3], [0] * 3)]
    inputs += [weight("9.running_mean"), weight("9.running_var")]
    nodes.append(node("BatchNormalization", inputs, "9", epsilon=1e-3))
    inputs = ["9", weight("10.weight"), weight("10.bias")]
    nodes.append(node("Gemm", inputs, "10" if softmax else "logits", name="10", transB=1))
    if softmax:
        nodes.append(node("Softmax", ["10"], "probabilities", name="softmax", axis=1))

    description = (
        "pixels from 0 to 255"
        if preprocess
        else "pixels scaled to 0–1 and normalized (mean 0.5000, 0.2500 and deviation 0.2500, 0.5000)"
    )
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 2, 6, 5], description)
    name = "probabilities" if softmax else "logits"
    output = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "tiny", [images], [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name, model.producer_version = "vggnet", "golden"
    metadata = {
        "dataset": '"pets"',
        "classes": '["cat","Käfer"]',
        "normalization": '{"mean":[0.5,0.25],"std":[0.25,0.5]}',
        "preprocess": "true" if preprocess else "false",
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    (HERE / path).write_bytes(model.SerializeToString())


write("tiny.onnx", half=False, softmax=False, preprocess=False)
write("tiny-half.onnx", half=True, softmax=True, preprocess=True)
