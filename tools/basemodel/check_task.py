#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that the task can be learnt: LoRA over the frozen base, in PyTorch.

usage: check_task.py [--base base.gguf] [--lr X] [--rank R] [--steps N] ...

Prints greedy exact match on the held-out records before and after. A batch
is a few examples, each a row of its own; only the completion and the token
that ends it are learnt from.
"""

import argparse
import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F
from torch import nn

import model as llama

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = ("attn_q attn_k attn_v attn_output "
           "ffn_gate ffn_up ffn_down").split()


class Lora(nn.Module):
    """A frozen linear with alpha / rank * B A beside it; B starts at zero."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        self.scale = alpha / rank
        rows_out, rows_in = linear.weight.shape
        self.a = nn.Parameter(torch.randn(rank, rows_in) * rows_in ** -0.5)
        self.b = nn.Parameter(torch.zeros(rows_out, rank))

    def forward(self, x):
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.a),
                                                      self.b)


def add_lora(model, rank, alpha):
    for p in model.parameters():
        p.requires_grad_(False)
    for block in model.blk:
        for name in TARGETS:
            setattr(block, name, Lora(getattr(block, name), rank, alpha))
    return [p for p in model.parameters() if p.requires_grad]


def read_records(path, tok, end):
    """Pairs of token lists: the prompt, and the completion with its end."""
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [(tok.encode(r["prompt"]).ids,
             tok.encode(r["completion"]).ids + [end]) for r in records]


def pad(batch, end):
    """Tokens and targets of a batch; -100 marks what is not learnt."""
    width = max(len(p) + len(c) for p, c in batch) - 1
    tokens = torch.full((len(batch), width), end)
    wanted = torch.full((len(batch), width), -100)
    for i, (prompt, completion) in enumerate(batch):
        whole = torch.tensor(prompt + completion)
        tokens[i, :len(whole) - 1] = whole[:-1]
        wanted[i, len(prompt) - 1:len(whole) - 1] = whole[len(prompt):]
    return tokens, wanted


@torch.no_grad()
def exact_match(model, records, end):
    """Share of records whose whole reply comes out of greedy decoding."""
    by_length = {}
    for prompt, completion in records:
        by_length.setdefault(len(prompt), []).append((prompt, completion))
    right = 0
    for group in by_length.values():
        rows = torch.tensor([p for p, _ in group])
        longest = max(len(c) for _, c in group)
        for _ in range(longest):
            best = model.hidden(rows)[:, -1] @ model.token_embd.weight.T
            rows = torch.cat((rows, best.argmax(-1, keepdim=True)), 1)
        for row, (p, c) in zip(rows.tolist(), group):
            right += row[len(p):len(p) + len(c)] == c
    return right / len(records)


def batches(records, size, seed):
    """Shuffled batches without an end; a new order on each pass."""
    rng = random.Random(seed)
    while True:
        order = records[:]
        rng.shuffle(order)
        for i in range(0, len(order) - size + 1, size):
            yield order[i:i + size]


def tune(model, params, records, end, args):
    opt = torch.optim.AdamW(params, lr=args.lr, betas=(0.9, 0.999),
                            weight_decay=0.0)
    source = batches(records, args.batch, args.seed)
    seen, begin = 0, time.time()
    for step in range(args.steps):
        batch = next(source)
        seen += sum(len(p) + len(c) for p, c in batch)
        climb = min(1.0, (step + 1) / args.warmup)
        for group in opt.param_groups:
            group["lr"] = args.lr * climb * 0.5 * (
                1 + math.cos(math.pi * step / args.steps))
        tokens, wanted = pad(batch, end)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), wanted.flatten())
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        if step % 50 == 49:
            print(f"step {step + 1} loss {loss.item():.4f} tokens {seen} "
                  f"{time.time() - begin:.0f} s", flush=True)
    return seen


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", default=os.path.join(HERE, "base.gguf"))
    parser.add_argument("--data", default=HERE)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model, reader = llama.load(args.base)
    tok, end = llama.load_tokenizer(reader)
    train = read_records(os.path.join(args.data, "commands-train.jsonl"),
                         tok, end)
    heldout = read_records(os.path.join(args.data, "commands-heldout.jsonl"),
                           tok, end)
    print(f"longest example {max(len(p) + len(c) for p, c in train)} tokens")
    before = exact_match(model, heldout, end)
    params = add_lora(model, args.rank, args.alpha)
    print(f"{sum(p.numel() for p in params)} LoRA parameters")
    seen = tune(model, params, train, end, args)
    after = exact_match(model, heldout, end)
    print(f"exact match before {100 * before:.1f} % after {100 * after:.1f} % "
          f"lr {args.lr} rank {args.rank} alpha {args.alpha:.0f} "
          f"steps {args.steps} batch {args.batch} tokens {seen}")


if __name__ == "__main__":
    main()
