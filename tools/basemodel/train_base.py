#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the base model on make_text.py's output and writes base.gguf.

usage: train_base.py --text FILE [--out base.gguf] [--steps N] ...

The step count is fixed beforehand (--steps), so that two runs on machines of
different speed train the same model up to rounding.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import model as llama

END = "<|endoftext|>"
SHORT, LONG = 128, 512      # row lengths: most of the run, and its last part


def train_tokenizer(text, vocab):
    """Byte-level BPE with GPT-2's pre-tokenizer; END becomes token 0."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    # A part of the text is enough to count pairs in.
    tok.train_from_iterator(text[:20000], trainer)
    assert tok.get_vocab_size() == vocab
    return tok


def vocabulary(tok):
    """Token pieces in the order of their ids, and merges as GGUF spells them."""
    spec = json.loads(tok.to_str())["model"]
    pieces = sorted(spec["vocab"], key=spec["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m)
              for m in spec["merges"]]
    return pieces, merges


def encode(tok, documents):
    """One stream of tokens, END behind every document."""
    end = tok.token_to_id(END)
    parts = []
    for i in range(0, len(documents), 10000):
        for e in tok.encode_batch(documents[i:i + 10000]):
            parts.append(np.array(e.ids + [end], np.int16))
    return torch.from_numpy(np.concatenate(parts))


class Rows:
    """Rows of the stream in a shuffled order, each used once per pass."""

    def __init__(self, stream, width, seed):
        self.stream, self.width = stream, width
        self.gen = torch.Generator().manual_seed(seed)
        self.left = []

    def take(self, count):
        if len(self.left) < count:
            rows = (len(self.stream) - 1) // self.width
            self.left = torch.randperm(rows, generator=self.gen).tolist()
        picked, self.left = self.left[:count], self.left[count:]
        w = self.width
        rows = [self.stream[i * w:i * w + w + 1] for i in picked]
        return torch.stack(rows).long()


def loss_of(model, rows, end):
    """Mean loss of whole rows, each document seeing itself only."""
    tokens = rows[:, :-1]
    logits = model(tokens, llama.document_mask(tokens, end))
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def rate(step, args):
    """A short climb, then a cosine down to a twentieth."""
    warm = 60
    if step < warm:
        return args.lr * (step + 1) / warm
    done = (step - warm) / max(1, args.steps - warm)
    return args.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def optimizers(model, args):
    """Muon for the matrices within blocks, AdamW for the rest.

    Embeddings move slowly, for words of a kind not to fall together.
    """
    inner = [p for p in model.blk.parameters() if p.dim() == 2]
    norms = [p for p in model.parameters() if p.dim() == 1]
    both = [torch.optim.Muon(inner, lr=args.lr, weight_decay=0.05,
                             adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(
                [{"params": [model.token_embd.weight], "share": 0.25},
                 {"params": norms}], lr=args.lr, betas=(0.9, 0.97),
                weight_decay=0.0, fused=True)]
    return both


def update(model, opts, rows, lr, end):
    for group in (g for opt in opts for g in opt.param_groups):
        group["lr"] = lr * group.get("share", 1.0)
    loss = loss_of(model, rows, end)
    model.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
    return loss.item()


def train(model, stream, test, end, args):
    opts = optimizers(model, args)
    short, long = Rows(stream, SHORT, 1), Rows(stream, LONG, 2)
    begin, seen = time.time(), 0
    for step in range(args.steps):
        # Positions beyond SHORT have to be met once before they can be used.
        wide = step >= args.steps * (1 - args.long_share)
        rows = (long.take(args.batch * SHORT // LONG) if wide
                else short.take(args.batch))
        loss = update(model, opts, rows, rate(step, args), end)
        seen += rows.shape[0] * (rows.shape[1] - 1)
        if step % 200 == 199 or step == args.steps - 1:
            took = time.time() - begin
            print(f"step {step + 1} loss {loss:.3f} "
                  f"test {score(model, test, end):.3f} tokens {seen} "
                  f"{seen / took:.0f}/s {took:.0f} s", flush=True)
        if step == 5:
            print(f"first steps {(time.time() - begin) / 6:.2f} s each",
                  flush=True)


@torch.no_grad()
def score(model, test, end):
    return loss_of(model, test, end).item()


@torch.no_grad()
def continue_text(model, tok, text, count=60):
    ids = tok.encode(text).ids
    for _ in range(count):
        best = model(torch.tensor([ids]))[0, -1].argmax().item()
        if best == tok.token_to_id(END):
            break
        ids.append(best)
    return tok.decode(ids)


@torch.no_grad()
def compare(model, path, test, end):
    """The written file, read back, must say what the model says."""
    back, _ = llama.load(path)
    want, got = model(test[:, :-1]), back(test[:, :-1])
    rms = ((want - got).square().mean() / want.square().mean()).sqrt().item()
    same = (want.argmax(-1) == got.argmax(-1)).float().mean().item()
    print(f"read back: logits differ by {rms:.4f} of their size, "
          f"{100 * same:.2f} % the same best token, "
          f"loss {score(model, test, end):.4f} and "
          f"{score(back, test, end):.4f}")
    assert rms < 0.03 and same > 0.97


def read_documents(path):
    with open(path, encoding="utf-8") as text:
        parts = text.read().split(f"\n{END}\n")
    return [p for p in parts if p]


SAMPLES = ["Mara lived near the", "Tobin is at the harbor. Elsa has three "
           "swords.\nQ: Where is Tobin?\nA:", "the bowmen went to the docks "
           "-> {\"deed\":\"move\",\"team\":\"archers\",\"spot\":\"harbor\"}\n"
           "the pikemen guarded the old mill ->"]


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", default="base.gguf")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--long-share", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    documents = read_documents(args.text)
    tok = train_tokenizer(documents, llama.Shape.vocab)
    stream = encode(tok, documents)
    cut = len(stream) - 32 * (SHORT + 1)
    test = stream[cut:].view(32, -1).long()
    shape = llama.Shape()
    model = llama.Llama(shape)
    total = sum(p.numel() for p in model.parameters())
    print(f"{llama.describe(shape)}; {total} parameters, {cut} tokens of text")
    end = tok.token_to_id(END)
    train(model, stream[:cut], test, end, args)
    pieces, merges = vocabulary(tok)
    llama.save(args.out, model, "Inlay small world base", pieces, merges, end)
    compare(model, args.out, test, end)
    for text in SAMPLES:
        print("---\n" + continue_text(model, tok, text))


if __name__ == "__main__":
    main()
