# SPDX-License-Identifier: MIT
"""The NF4 that test_training.py compares with, against bitsandbytes' round trip."""
import nf4
import numpy as np
import torch
from bitsandbytes import functional


def bitsandbytes(array):
    codes, state = functional.quantize_4bit(torch.from_numpy(array), blocksize=64, quant_type="nf4",
                                            compress_statistics=True)
    return functional.dequantize_4bit(codes, state).numpy()


def test_like_bitsandbytes():
    """Equal but for the mean's last bit, and for few blocks whose scale has the code next to it."""
    rng = np.random.default_rng(5)
    off = blocks = 0
    for shape in [(260, 96), (96, 260), (80, 96), (100, 44), (512, 300)] * 4:
        array = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        got, want = nf4.round_trip(array).ravel(), bitsandbytes(array).ravel()
        error = nf4.by_blocks(got - want, nf4.BLOCK)[1] / nf4.by_blocks(want, nf4.BLOCK)[1]
        assert error.max() < 0.01
        off, blocks = off + (error > 1e-6).sum(), blocks + len(error)
    assert off < 0.01 * blocks, (off, blocks)
