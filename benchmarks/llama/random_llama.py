#!/usr/bin/env python3
"""Writes a LLaMA with random weights, to measure how fast programs run its shapes.

    random_llama.py FOLDER [--seed N] [--hidden 2048 --layers 22 --heads 32 --kv-heads 4 --ffn 5632 --vocab 32000]

FOLDER becomes a model in Hugging Face's form: config.json, model.safetensors (BF16) and a tokenizer.json whose
vocabulary has the bytes and pieces without meaning. The shapes are by default those of TinyLlama-1.1B: 1.1 billion
parameters, 2.2 GB. Weights are drawn from 256 quantiles of a normal distribution of deviation 0.02. One seed gives the
same bytes everywhere.
"""

import argparse
import json
import math
import random
import statistics
import struct
import sys
from pathlib import Path


def shapes(args):
    """Names and shapes, as Hugging Face names them."""
    kv = args.hidden // args.heads * args.kv_heads
    yield "model.embed_tokens.weight", (args.vocab, args.hidden)
    for layer in range(args.layers):
        block = f"model.layers.{layer}."
        for name, shape in (("input_layernorm", (args.hidden,)), ("post_attention_layernorm", (args.hidden,)),
                            ("self_attn.q_proj", (args.hidden, args.hidden)), ("self_attn.k_proj", (kv, args.hidden)),
                            ("self_attn.v_proj", (kv, args.hidden)), ("self_attn.o_proj", (args.hidden, args.hidden)),
                            ("mlp.gate_proj", (args.ffn, args.hidden)), ("mlp.up_proj", (args.ffn, args.hidden)),
                            ("mlp.down_proj", (args.hidden, args.ffn))):
            yield f"{block}{name}.weight", shape
    yield "model.norm.weight", (args.hidden,)
    yield "lm_head.weight", (args.vocab, args.hidden)


def bfloat16(value):
    """The two bytes of a finite float, rounded to the nearest, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return struct.pack("<H", (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


def elements(generator, count, normal):
    """`count` draws from the 256 middles of equal shares of a distribution."""
    values = [bfloat16(normal.inv_cdf((i + 0.5) / 256)) for i in range(256)]
    drawn = generator.randbytes(count)
    out = bytearray(2 * count)
    for byte in range(2):
        out[byte::2] = drawn.translate(bytes(value[byte] for value in values))
    return out


def write_weights(path, args):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes(args):
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(args.seed)
    matrix, norm = statistics.NormalDist(0.0, 0.02), statistics.NormalDist(1.0, 0.1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shapes(args):
            file.write(elements(generator, math.prod(shape), matrix if len(shape) == 2 else norm))
    return offset


def config(args):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": args.hidden,
            "intermediate_size": args.ffn, "num_hidden_layers": args.layers, "num_attention_heads": args.heads,
            "num_key_value_heads": args.kv_heads, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "vocab_size": args.vocab, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "bos_token_id": 1, "eos_token_id": 2}


def tokenizer(args):
    """A byte-pair encoding without merges: every text is spelled in bytes."""
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581"]
    pieces += [f"piece{i}" for i in range(args.vocab - len(pieces))]
    special = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i in range(3)]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    template = {"type": "TemplateProcessing", "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    space = {"String": " "}
    mark = {"String": "\u2581"}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": space, "content": "\u2581"}]},
            "pre_tokenizer": None, "post_processor": template,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": mark, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": []}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, value in (("seed", 1), ("hidden", 2048), ("layers", 22), ("heads", 32), ("kv-heads", 4), ("ffn", 5632),
                        ("vocab", 32000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.vocab < 260 or args.hidden % args.heads != 0 or args.heads % args.kv_heads != 0:
        sys.exit("random_llama: the vocabulary holds 256 bytes and four tokens more; heads divide the hidden size, "
                 "and kv-heads the heads")
    args.folder.mkdir(parents=True, exist_ok=True)
    size = write_weights(args.folder / "model.safetensors", args)
    (args.folder / "config.json").write_text(json.dumps(config(args), indent=1) + "\n")
    (args.folder / "tokenizer.json").write_text(json.dumps(tokenizer(args), ensure_ascii=False) + "\n")
    print(f"{args.folder}: {size // 2 / 1e9:.2f} billion parameters, {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
