"""Dequantizes what `llama convert` wrote by the layouts' descriptions and compares it bit for bit.

    reference_dequantizers.py FLOAT32 FOLDER...

FLOAT32 is a model in the layout float32, each FOLDER the same in gptq, gptq-v2, awq-gemm or bitsandbytes-4bit. Stands in
for the programs that read these files, and follows their formats, not pare's code. Needs numpy.
"""

import json
import pathlib
import sys

import numpy

from tensors import read_safetensors


def nibbles(words, order=range(8)):
    """[..., n] int32 to [..., 8 n]: value i is the nibble order[i] of its word."""
    words = words.view(numpy.uint32)[..., None] >> (4 * numpy.array(order, dtype=numpy.uint32))
    return (words & 15).reshape(*words.shape[:-2], -1).astype(numpy.int32)


def gptq(layer, config):
    """qweight [in / 8, out], lowest bits first along in; qzeros [groups, out / 8], one less in version 1."""
    codes = nibbles(numpy.ascontiguousarray(layer["qweight"].T)).T
    zeros = nibbles(layer["qzeros"]) + (0 if config["checkpoint_format"] == "gptq_v2" else 1)
    groups = layer["g_idx"]
    return ((codes - zeros[groups]).astype(numpy.float32) * layer["scales"][groups].astype(numpy.float32)).T


def awq(layer, config):
    """qweight [in, out / 8] and qzeros [groups, out / 8]; output 8 c + j is nibble order[j] of word c."""
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    size = config["group_size"]
    codes, zeros = nibbles(layer["qweight"], order), nibbles(layer["qzeros"], order)
    repeat = lambda grid: numpy.repeat(grid, size, axis=0)
    return ((codes - repeat(zeros)).astype(numpy.float32) * repeat(layer["scales"].astype(numpy.float32))).T


def bitsandbytes(layer, config):
    """Flattened, the earlier element in the high nibble; blocks go on across rows."""
    state = next(array for name, array in layer.items() if "quant_state" in name)
    state = json.loads(state.tobytes())
    packed = layer["weight"].reshape(-1)
    codes = numpy.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
    scales = numpy.repeat(layer["weight.absmax"], state["blocksize"])[:codes.size]
    return (layer["weight.quant_map"][codes] * scales).reshape(state["shape"])


METHODS = {"gptq": (gptq, "qweight"), "awq": (awq, "qweight"), "bitsandbytes": (bitsandbytes, "weight.absmax")}


def main(reference, folders):
    floats = read_safetensors(reference)
    for folder in folders:
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
        dequantize, marker = METHODS[config["quant_method"]]
        tensors = read_safetensors(folder)
        prefixes = [name[:-len(marker) - 1] for name in tensors if name.endswith("." + marker)]
        for prefix in prefixes:
            layer = {name[len(prefix) + 1:]: array for name, array in tensors.items() if name.startswith(prefix + ".")}
            if not numpy.array_equal(floats[prefix + ".weight"], dequantize(layer, config)):
                sys.exit(f"{folder}: {prefix}: weights differ")
        if not prefixes:
            sys.exit(f"{folder}: there is nothing to compare")
        print(f"{folder}: {len(prefixes)} layers equal")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
