#!/usr/bin/env python3
"""Shows that `llama quantize` and `llama prune` work in bounded memory.

    large_model.py PROGRAM [FOLDER]

Makes a LLaMA of more than 2 GB (float32, random weights) in a temporary folder
below FOLDER, quantizes and prunes it under GNU time, prints the peak memory of
each run and its ratio to the largest tensor, and fails if a ratio is beyond 4.
Needs about 5 GB of disk.
"""

import array
import json
import random
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = {
    "model_type": "llama", "vocab_size": 4096, "hidden_size": 4096, "intermediate_size": 8192, "num_hidden_layers": 4,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
}
MOST_TIMES_LARGEST = 4.0
PROGRAM_ITSELF = 64 << 20


def tensors():
    """Names and shapes, as Hugging Face names them."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    kv = hidden * CONFIG["num_key_value_heads"] // CONFIG["num_attention_heads"]
    yield "model.embed_tokens.weight", (CONFIG["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    for layer in range(CONFIG["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        for name, shape in (("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,)),
                            ("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (kv, hidden)),
                            ("self_attn.v_proj", (kv, hidden)), ("self_attn.o_proj", (hidden, hidden)),
                            ("mlp.gate_proj", (inner, hidden)), ("mlp.up_proj", (inner, hidden)),
                            ("mlp.down_proj", (hidden, inner))):
            yield f"{block}{name}.weight", shape


def write_model(folder):
    """Writes the model and returns the sizes of the file and of its largest tensor in bytes."""
    header, offset, largest = {}, 0, 0
    for name, shape in tensors():
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
        largest = max(largest, size)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(1)
    block = array.array("f", (generator.gauss(0.0, 0.02) for _ in range(1 << 18))).tobytes()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, len(block)):
            file.write(block[:min(len(block), offset - start)])
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return offset, largest


def peak(command):
    """Runs a command under GNU time and returns its peak memory in bytes."""
    run = subprocess.run(["/usr/bin/time", "-v", *map(str, command)], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(run.stderr)
    print(run.stdout.splitlines()[-1])
    return 1024 * int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", run.stderr).group(1))


def main():
    program = sys.argv[1]
    parent = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory(prefix="pare-large-", dir=parent) as name:
        folder = Path(name)
        (folder / "model").mkdir()
        size, largest = write_model(folder / "model")
        print(f"model of {size / 1e9:.2f} GB, largest tensor {largest / 1e6:.0f} MB")
        failed = False
        for arguments in (["quantize", "--scheme", "int4"], ["quantize", "--scheme", "fp8"],
                          ["prune", "--structure", "2:4", "--scheme", "int8"]):
            used = peak([program, *arguments, folder / "model", "-o", folder / "out", "--force"])
            times = (used - PROGRAM_ITSELF) / largest
            failed = failed or times > MOST_TIMES_LARGEST
            print(f"{' '.join(arguments)}: peak {used / 1e6:.0f} MB, {times:.2f} times the largest tensor")
        sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
