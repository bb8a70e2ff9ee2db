# SPDX-License-Identifier: MIT
"""The NF4 that test_training.py compares with, against bitsandbytes' round trip."""
import nf4
import numpy as np
import quants
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


def test_codes():
    """Ours are bitsandbytes' code for code, also where values lie on the borders between codes."""
    rng = np.random.default_rng(6)
    middles = (nf4.VALUES[1:] + nf4.VALUES[:-1]) / np.float32(2)
    near = np.concatenate([np.nextafter(middles, np.float32(-1)), middles,
                           np.nextafter(middles, np.float32(1)), nf4.VALUES]).astype(np.float32)
    near = np.concatenate([near, [1.0] * (-len(near) % 64)]).astype(np.float32)
    arrays = [rng.standard_normal(64 * 500, dtype=np.float32) * np.float32(scale)
              for scale in (0.02, 1e-6, 1e-20, 1e20, 1e-38)]
    arrays += [near, near * np.float32(0.013), np.zeros(256, np.float32),
               rng.standard_t(1.5, 64 * 500).astype(np.float32),
               rng.standard_normal(64 * 70 + 46, dtype=np.float32),
               rng.standard_normal(1 << 22, dtype=np.float32)]
    for array in arrays:
        want, _ = functional.quantize_4bit(torch.from_numpy(array), blocksize=64, quant_type="nf4")
        got = np.frombuffer(quants.drive(["codes", "NF4"], array.tobytes()), np.uint8)
        assert np.array_equal(got, want.numpy().ravel())
