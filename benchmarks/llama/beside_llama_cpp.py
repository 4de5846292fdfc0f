#!/usr/bin/env python3
"""Times `llama bench` and llama.cpp's llama-bench in turns and prints the medians as a table.

    beside_llama_cpp.py LLAMA MODEL GGUF [--llama-bench COMMAND] [--threads 1 2] [--rounds 3]

MODEL is what `llama quantize` wrote, GGUF the same model for llama.cpp. In each round both programs take in 512 tokens at
once and then 128 one by one, each twice after a run that does not count.
"""

import argparse
import json
import shlex
import statistics
import subprocess

KINDS = (("prompt", 512), ("generate", 128))


def output(command):
    return json.loads(subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     check=True).stdout)


def pare(args, threads):
    report = output([args.llama, "bench", args.model, "--json", "--repetitions", 2, "--threads", threads] +
                    [part for kind, tokens in KINDS for part in (f"--{kind}", tokens)])
    return [report[kind]["tokens_per_second"] for kind, _ in KINDS]


def llama_cpp(args, threads):
    rows = output(shlex.split(args.llama_bench) + ["-m", args.gguf, "-p", 512, "-n", 128, "-t", threads, "-r", 2, "-o", "json"])
    return [next(row["avg_ts"] for row in rows if row["n_prompt"] == prompt) for prompt in (512, 0)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama")
    parser.add_argument("model")
    parser.add_argument("gguf")
    parser.add_argument("--llama-bench", default="llama-bench")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print("| threads | work | llama.cpp, tokens/s | pare, tokens/s | pare / llama.cpp | ratio of each round |")
    print("|---|---|---|---|---|---|")
    for threads in args.threads:
        rounds = [(llama_cpp(args, threads), pare(args, threads)) for _ in range(args.rounds)]
        for i, (kind, tokens) in enumerate(KINDS):
            theirs, ours = ([speeds[side][i] for speeds in rounds] for side in range(2))
            ratios = [b / a for a, b in zip(theirs, ours)]
            print(f"| {threads} | {kind} {tokens} | {statistics.median(theirs):.1f} | {statistics.median(ours):.1f} | "
                  f"{statistics.median(ratios):.2f} | {', '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)


if __name__ == "__main__":
    main()
