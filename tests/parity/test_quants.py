# SPDX-License-Identifier: MIT
"""Weight formats against the packages `gguf` and `bitsandbytes`.

Block formats: random blocks decoded to the same bits, subnormal and
extreme scales among them; floats encoded to the same bytes, or as well. That the device decodes to
those bits too is for runtime/verify (check_matmul.c: "decode through", "embed")."""
import bitsandbytes.functional as bnb
import gguf
import numpy as np
import pytest
import quants
import torch

# Where a block's f16 scales lie. MXFP4 has an exponent instead.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
          "IQ4_XS": [0], "MXFP4": []}
BLOCKS = 4096
SPECIAL = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3c00]


def random_blocks(name, seed):
    """Any bytes, but no scale that is NaN or infinite."""
    rng = np.random.default_rng(seed)
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, (BLOCKS, size), np.uint8)
    for at in SCALES[name]:
        scale = rng.integers(0, 0x7c00, BLOCKS).astype(np.uint16)
        scale |= rng.integers(0, 2, BLOCKS).astype(np.uint16) << 15
        scale[:len(SPECIAL)] = rng.permutation(SPECIAL)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        blocks[:, 0] %= 253  # from there on the largest code overflows
        blocks[:256, 0] = np.arange(256) % 253
    return blocks


@pytest.mark.parametrize("name", SCALES)
def test_decode(name):
    blocks = random_blocks(name, 1)
    want = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32)
    got = quants.decode(name, blocks).reshape(want.shape)
    assert np.isfinite(want).all()
    wrong = np.argwhere(got.view(np.uint32) != want.view(np.uint32))
    assert len(wrong) == 0, f"{len(wrong)} differ, first {wrong[0]}: {got[tuple(wrong[0])]!r}"


def relative_error(name, blocks, x):
    qtype = gguf.GGMLQuantizationType[name]
    back = gguf.quants.dequantize(blocks.reshape(-1, gguf.GGML_QUANT_SIZES[qtype][1]), qtype)
    return np.sqrt(np.mean((back.reshape(-1) - x) ** 2) / np.mean(x ** 2))


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4"])
def test_encode_is_the_packages(name):
    x = np.random.default_rng(2).normal(0, 0.02, 32 * BLOCKS).astype(np.float32)
    x[:32], x[32:64], x[70:96] = 0, 0.5, 1e-7
    want = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name]).reshape(-1)
    assert np.array_equal(quants.encode(name, x), want)


# The errors of ggml's own quantizers, without an importance matrix, for the same numbers.
@pytest.mark.parametrize("name, ggml", [("Q2_K", 0.2968), ("Q3_K", 0.1508), ("Q4_K", 0.0714),
                                        ("Q5_K", 0.0361), ("Q6_K", 0.0178), ("IQ4_NL", 0.0761),
                                        ("IQ4_XS", 0.0767)])
def test_encode_errs_no_more_than_ggml(name, ggml):
    x = np.random.default_rng(0).normal(0, 0.02, 256 * 512).astype(np.float32)
    assert relative_error(name, quants.encode(name, x), x) < 1.02 * ggml


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("block", [64, 128, 256, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes(kind, block, nested):
    """Tensors of any size: the last block is short, and 150 blocks of 64 are no whole 256."""
    torch.manual_seed(block)
    for count in (9600, 4096 * 70 + 33 * 2):
        x = torch.randn(count) * 0.03
        packed, state = bnb.quantize_4bit(x, blocksize=block, quant_type=kind,
                                          compress_statistics=nested)
        want = bnb.dequantize_4bit(packed, state).numpy().reshape(-1)
        words, scales = [kind, count, block, 0, 0], state.absmax.numpy().tobytes()
        if nested:
            inner = state.state2
            words[3:] = [inner.blocksize, repr(float(state.offset))]
            scales = b"".join(t.numpy().tobytes() for t in (inner.code, inner.absmax, state.absmax))
        got = np.frombuffer(quants.drive(words, scales + packed.numpy().tobytes()), np.float32)
        assert np.array_equal(got, want)  # but for a zero's sign: FP4 has two, its kernels differ
