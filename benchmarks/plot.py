#!/usr/bin/env python3
"""Draws what pare_bench measured: GB/s of each kernel and scheme, a bar for each instruction set, against memcpy.

    pare_bench --json --benchmark_filter='^(quantize|dequantize)/' > results.json
    benchmarks/plot.py results.json -o kernels.svg

Needs matplotlib (Debian: python3-matplotlib).
"""
import argparse
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def read(path):
    """The results by kernel, scheme and instruction set, in the order of the file, and the rate of memcpy."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    kernels = {}
    for run in report["benchmarks"]:
        kernel, scheme, target = run["name"].split("/")
        kernels.setdefault(kernel, {}).setdefault(scheme, {})[target] = run["GB/s"]
    return kernels, float(report["context"]["memcpy GB/s"])


def draw(kernels, memcpy_rate, title):
    """A panel for each kernel, its schemes side by side."""
    targets = list(dict.fromkeys(t for schemes in kernels.values() for rates in schemes.values() for t in rates))
    figure, panels = plt.subplots(len(kernels), 1, figsize=(11, 3.4 * len(kernels)), squeeze=False, sharex=True)
    width = 0.8 / len(targets)
    for panel, (kernel, schemes) in zip(panels[:, 0], kernels.items()):
        for i, target in enumerate(targets):
            places = [s + (i - (len(targets) - 1) / 2) * width for s in range(len(schemes))]
            panel.bar(places, [rates.get(target, 0.0) for rates in schemes.values()], width, label=target)
        panel.axhline(memcpy_rate, color="black", linewidth=1, linestyle="--", label="memcpy")
        panel.set_ylabel(f"{kernel}\nGB/s of float32")
        panel.set_xticks(range(len(schemes)), schemes, rotation=20, ha="right")
    panels[0, 0].set_title(title)
    panels[0, 0].legend(ncol=len(targets) + 1, fontsize="small")
    figure.tight_layout()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="what pare_bench --json wrote")
    parser.add_argument("-o", "--output", required=True, help="a .svg or .png file")
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    try:
        kernels, memcpy_rate = read(arguments.results)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"plot.py: {arguments.results} is not what pare_bench writes: {error}")
    if not kernels:
        sys.exit(f"plot.py: {arguments.results} holds no results")
    draw(kernels, memcpy_rate, arguments.title).savefig(arguments.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
