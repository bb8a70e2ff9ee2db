#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what tools/quickstart.sh found out; exits 1 when the training did not teach the task."""
import argparse
import json
import os
import sys

LEAST_AFTER = 0.95  # share of held-out commands that must be right
MOST_BEFORE = 0.05


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def show_answers(before, after):
    for old, new in zip(before["shown"], after["shown"]):
        print(f"\n  {old['prompt'].strip()}")
        print(f"    before   {' '.join(old['answer'].split())[:100]}")
        print(f"    after    {new['answer'].strip()}")
        print(f"    expected {new['expected'].strip()}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("before", "after", "train", "out", "base", "seconds"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    before, after, train = load(args.before), load(args.after), load(args.train)
    show_answers(before, after)
    adapter = os.path.join(args.out, "adapter.gguf")
    print(f"\n  exact match on {after['examples']} held-out examples: "
          f"{100 * before['exact_match']:.1f} % before, {100 * after['exact_match']:.1f} % after")
    print(f"  held-out loss: {before['loss']:.3f} before, {after['loss']:.3f} after")
    print(f"  training: {train['tokens_per_second']:.0f} tokens/s, "
          f"{train['peak_memory_bytes'] / 2**20:.1f} MiB of device memory at most")
    print(f"  adapter: {adapter}, {os.path.getsize(adapter) / 1024:.0f} KiB beside the base's "
          f"{os.path.getsize(args.base) / 1024:.0f} KiB")
    print(f"  loss picture: {os.path.join(args.out, 'loss.png')}")
    print(f"  time: {args.seconds} s\n")
    if before["exact_match"] >= MOST_BEFORE or after["exact_match"] < LEAST_AFTER:
        print(f"the task was not learned as it should be: from under {100 * MOST_BEFORE:.0f} % "
              f"to at least {100 * LEAST_AFTER:.0f} % was expected", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
