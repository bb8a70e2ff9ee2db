# SPDX-License-Identifier: MIT
"""inlay's codecs, by quant_driver.c, and files of several types as llama.cpp mixes them."""
import os
import subprocess

import gguf
import numpy as np

DRIVER = f"{os.environ['INLAY_BUILD']}/tests/quant_driver"
# By the parts of transformers' names that differ from the rest; llama.cpp's names of mixes where it
# has such a one. Between them all types occur, also in the embedding.
MIXES = {
    "q4_k_m": {"": "Q4_K", "v_proj": "Q6_K", "down_proj": "Q6_K", "lm_head": "Q6_K"},
    "q5_k_m": {"": "Q5_K", "v_proj": "Q8_0", "embed_tokens": "Q6_K", "lm_head": "F16"},
    "q2_k": {"": "Q2_K", "o_proj": "Q3_K", "down_proj": "Q3_K", "embed_tokens": "Q3_K",
             "lm_head": "Q2_K"},
    "iq4": {"": "IQ4_XS", "v_proj": "IQ4_NL", "embed_tokens": "IQ4_XS", "lm_head": "Q5_1"},
    "of 32": {"": "Q4_1", "q_proj": "Q5_0", "k_proj": "Q5_1", "down_proj": "MXFP4",
              "up_proj": "BF16", "embed_tokens": "Q5_0", "lm_head": "IQ4_NL"},
}


def type_in_mix(kind, name):
    part = max((p for p in MIXES[kind] if p in name), key=len)
    return gguf.GGMLQuantizationType[MIXES[kind][part]]


def drive(words, data):
    done = subprocess.run([DRIVER, *map(str, words)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def decode(name, blocks):
    return np.frombuffer(drive(["decode", name], blocks.tobytes()), np.float32)


def encode(name, x):
    return np.frombuffer(drive(["encode", name], x.astype(np.float32).tobytes()), np.uint8)


def quantize(array, qtype):
    """As gguf.quants.quantize, also for types that the package does not write."""
    try:
        return gguf.quants.quantize(array, qtype)
    except NotImplementedError:
        return encode(qtype.name, array).reshape(array.shape[0], -1)
