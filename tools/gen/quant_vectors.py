#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the expected values of tests/unit/test_quant.c, by other hands than the C code's.

usage: quant_vectors.py > tests/unit/quant_vectors.h

The block formats and BF16 come from the PyPI package `gguf`; the dynamic map from torch, as
bitsandbytes' functional.py builds it; NF4 from its definition in float64 (nearest code, nearest map
entry), for an input whose values keep clear of the ties that float32 could decide otherwise.
"""
import struct
import sys
import zlib

import gguf
import numpy as np
import torch

LEGACY_COUNT = 32 * 4096
NF4_COUNT = 64 * 300 + 17  # two nested blocks, the last block of 17
CLEARANCE = 2e-6


def test_input(seed, count):
    """x |x| / 16 for x in [-1, 1), an LCG's upper 24 bits; each step is rounded once in f32."""
    out = np.empty(count, np.float32)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = np.float32((state >> 8) - (1 << 23)) * np.float32(2.0**-23)
    return out * np.abs(out) * np.float32(0.0625)


def dynamic_map():
    data = []
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1, dtype=torch.float32)
        means = (edges[:-1] + edges[1:]) / 2.0
        data += ((10 ** (-6 + i)) * means).tolist()
        data += (-(10 ** (-6 + i)) * means).tolist()
    data += [0, 1.0]
    return torch.tensor(sorted(data), dtype=torch.float32).numpy()


def nearest(table, x):
    """Index of the nearest entry for each x, in float64; asserts that no x is near a midpoint."""
    table, x = table.astype(np.float64), x.astype(np.float64)
    middles = (table[1:] + table[:-1]) / 2
    gap = np.abs(x[:, None] - middles[None, :]).min()
    if gap < CLEARANCE * np.abs(x).max() / 100:
        sys.exit(f"an input value lies {gap} from a tie: choose another seed")
    return np.abs(x[:, None] - table[None, :]).argmin(axis=1).astype(np.uint8)


NF4_CODES = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0])


def nf4(x):
    x = x.astype(np.float64)
    blocks = [x[i:i + 64] for i in range(0, len(x), 64)]
    absmax = np.array([np.abs(b).max() for b in blocks])
    codes = np.concatenate([nearest(NF4_CODES, b / a) for b, a in zip(blocks, absmax)])
    offset = absmax.mean()
    rest = absmax - offset
    table = dynamic_map()
    groups = [rest[i:i + 256] for i in range(0, len(rest), 256)]
    nested = [np.abs(g).max() for g in groups]
    indices = np.concatenate([nearest(table, g / a) for g, a in zip(groups, nested)])
    values = table.astype(np.float64)[indices] * np.repeat(nested, [len(g) for g in groups])
    values += offset
    decoded = NF4_CODES[codes] * np.repeat(values, [len(b) for b in blocks])
    return codes, indices, nested, offset, decoded


def print_bytes(name, data):
    print(f"static const uint8_t {name}[{len(data)}] = {{")
    for i in range(0, len(data), 16):
        print("    " + " ".join(f"0x{b:02x}," for b in data[i:i + 16]))
    print("};")


def print_words(name, words):
    print(f"static const uint32_t {name}[{len(words)}] = {{")
    for i in range(0, len(words), 7):
        print("    " + " ".join(f"0x{w:08x}u," for w in words[i:i + 7]))
    print("};")


def print_legacy():
    x = test_input(1, LEGACY_COUNT)
    for kind in ("Q8_0", "Q4_0", "BF16"):
        qtype = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(x, qtype).tobytes()
        back = gguf.quants.dequantize(np.frombuffer(data, np.uint8), qtype)
        print(f"#define {kind}_ENCODED_CRC 0x{zlib.crc32(data):08x}u")
        print(f"#define {kind}_DECODED_CRC 0x{zlib.crc32(back.astype(np.float32).tobytes()):08x}u")
        if kind != "BF16":
            print_bytes(kind.lower() + "_blocks", data[:2 * gguf.GGML_QUANT_SIZES[qtype][1]])
    print(f"#define F16_ENCODED_CRC 0x{zlib.crc32(x.astype(np.float16).tobytes()):08x}u")


# Where blocks have f16 scales. MXFP4 has an exponent.
BLOCK_SCALES = {"Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
                "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
                "MXFP4": []}
BLOCKS = 256


def random_blocks(kind, seed):
    """An LCG's upper bytes; scales below 2, exponents below 2^113."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    out, state = np.empty(BLOCKS * size, np.uint8), seed
    for i in range(len(out)):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    out = out.reshape(BLOCKS, size)
    for at in BLOCK_SCALES[kind]:
        out[:, at + 1] &= 0xBF
    if kind == "MXFP4":
        out[:, 0] = np.minimum(out[:, 0], 240)
    return out


def print_blocks():
    print(f"#define BLOCKS {BLOCKS}")
    print("static const struct {\n    const char *name;\n    int scale_at, offset_at;\n"
          "    uint32_t decoded_crc;\n} block_vectors[] = {")
    for i, (kind, scales) in enumerate(BLOCK_SCALES.items()):
        blocks = random_blocks(kind, 100 + i)
        back = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind]).astype(np.float32)
        assert np.isfinite(back).all()
        at = (scales + [-1, -1])[:2]
        print(f'    {{"{kind}", {at[0]}, {at[1]}, 0x{zlib.crc32(back.tobytes()):08x}u}},')
    print("};")


def print_nf4():
    codes, indices, nested, offset, decoded = nf4(test_input(7, NF4_COUNT))
    print(f"#define NF4_COUNT {NF4_COUNT}")
    print(f"#define NF4_CODES_CRC 0x{zlib.crc32(codes.tobytes()):08x}u")
    print(f"#define NF4_INDICES_CRC 0x{zlib.crc32(indices.tobytes()):08x}u")
    print(f"#define NF4_OFFSET {offset!r}")
    print("static const double nf4_nested[] = {" + ", ".join(repr(float(v)) for v in nested) + "};")
    print_bytes("nf4_first_codes", codes[:64].tobytes())
    print_bytes("nf4_first_indices", indices[:64].tobytes())
    print("static const double nf4_first_decoded[8] = {")
    for i in range(0, 8, 2):
        print("    " + " ".join(f"{v!r}," for v in decoded[i:i + 2].tolist()))
    print("};")


def main():
    np.set_printoptions(legacy="1.25")
    print("// SPDX-License-Identifier: MIT")
    print("// Made by: tools/gen/quant_vectors.py > tests/unit/quant_vectors.h")
    print(f"// gguf {__import__('importlib.metadata').metadata.version('gguf')}, "
          f"numpy {np.__version__}, torch {torch.__version__}")
    print("#ifndef QUANT_VECTORS_H\n#define QUANT_VECTORS_H\n\n#include <stdint.h>\n")
    print(f"#define LEGACY_COUNT {LEGACY_COUNT}")
    print_legacy()
    print_blocks()
    print("// The positive half of the dynamic map, as bits; the other half is its mirror.")
    table = dynamic_map()
    assert (table[:127] == -table[254:127:-1]).all() and table[127] == 0 and table[255] == 1
    print_words("dynamic_map_bits", [struct.unpack("<I", struct.pack("<f", v))[0]
                                     for v in table[128:255]])
    print_nf4()
    print("\n#endif")


if __name__ == "__main__":
    main()
