"""Runs the weights that `llama convert` wrote through ONNX Runtime and compares them bit for bit.

    onnx_runtime.py FLOAT32 MATMULNBITS LINEAR

The three are folders of one model: the layouts float32, onnx:matmulnbits and onnx:linear. A product with the identity
matrix gives every weight exactly. Needs numpy, onnx and onnxruntime.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tensors import read_safetensors


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def make_model(nodes, inputs, output, initializers, opsets):
    graph = helper.make_graph(nodes, "layer", inputs, [output], initializers)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def initializer(name, array):
    return onnx.numpy_helper.from_array(numpy.ascontiguousarray(array), name)


def by_matmulnbits(layer, shape, config):
    rows, columns = shape
    arrays = [initializer("B", layer["B"]), initializer("scales", layer["scales"].astype(numpy.float32))]
    names = ["A", "B", "scales"]
    if "zero_points" in layer:
        arrays.append(initializer("zero_points", layer["zero_points"]))
        names.append("zero_points")
    node = helper.make_node("MatMulNBits", names, ["Y"], domain="com.microsoft", K=columns, N=rows,
                            bits=config["bits"], block_size=config["group_size"], accuracy_level=1)
    model = make_model([node], [helper.make_tensor_value_info("A", TensorProto.FLOAT, [columns, columns])],
                       helper.make_tensor_value_info("Y", TensorProto.FLOAT, [columns, rows]), arrays,
                       {"": 21, "com.microsoft": 1})
    return run(model, A=numpy.eye(columns, dtype=numpy.float32)).T


def by_linear(layer, shape, config):
    kind = {(4, True): TensorProto.INT4, (4, False): TensorProto.UINT4, (8, True): TensorProto.INT8,
            (8, False): TensorProto.UINT8}[config["bits"], config["sym"]]
    blocks = list(layer["x_scale"].shape)
    arrays = [helper.make_tensor("x", kind, shape, layer["x"].tobytes(), raw=True),
              initializer("x_scale", layer["x_scale"].astype(numpy.float32))]
    names = ["x", "x_scale"]
    if "x_zero_point" in layer:
        arrays.append(helper.make_tensor("x_zero_point", kind, blocks, layer["x_zero_point"].tobytes(), raw=True))
        names.append("x_zero_point")
    attributes = {"axis": 1, "block_size": config["group_size"]} if config["group_size"] else {"axis": 0}
    node = helper.make_node("DequantizeLinear", names, ["Y"], **attributes)
    model = make_model([node], [], helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape), arrays, {"": 21})
    return run(model)


def main(folders):
    floats = read_safetensors(folders[0])
    for folder, dequantize, marker in ((folders[1], by_matmulnbits, ".B"), (folders[2], by_linear, ".x")):
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
        tensors = read_safetensors(folder)
        prefixes = sorted(name[:-len(marker)] for name in tensors if name.endswith(marker))
        for prefix in prefixes:
            layer = {name[len(prefix) + 1:]: array for name, array in tensors.items() if name.startswith(prefix + ".")}
            expected = floats[prefix + ".weight"]
            found = dequantize(layer, expected.shape, config)
            if not numpy.array_equal(expected, found):
                sys.exit(f"{config['quant_method']}: {prefix}: {(expected != found).sum()} weights differ")
        print(f"{config['quant_method']}: {len(prefixes)} layers equal, onnxruntime {onnxruntime.__version__}")
        if not prefixes:
            sys.exit("there is nothing to compare")


if __name__ == "__main__":
    main(sys.argv[1:])
