"""Reads the tensors of a folder's safetensors files with numpy alone."""

import json
import pathlib

import numpy

TYPES = {"F32": numpy.float32, "F16": numpy.float16, "U8": numpy.uint8, "I8": numpy.int8, "I16": numpy.int16,
         "I32": numpy.int32, "U32": numpy.uint32, "I64": numpy.int64}


def read_safetensors(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:8 + size]).items():
            if name != "__metadata__" and entry["dtype"] in TYPES:
                begin, end = (8 + size + offset for offset in entry["data_offsets"])
                tensors[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
