# SPDX-License-Identifier: MIT
"""NF4 with double quantization (arXiv 2305.14314): each code the nearest in bitsandbytes' tables.

Blocks of 64 share a scale, their largest magnitude; the scales, less their mean, are 8-bit codes in
blocks of 256. bitsandbytes' own kernel for the CPU rounds the second kind by a coarser table: one
code in a thousand is a neighbour of the nearest, so it cannot serve as the reference itself.
"""
import numpy as np
from bitsandbytes import functional

VALUES = functional.get_4bit_type("nf4", device="cpu").numpy()
SCALES = functional.create_dynamic_map().numpy()
BLOCK, NESTED_BLOCK = 64, 256


def nearest(table, values):
    middles = (table[1:] + table[:-1]) * np.float32(0.5)
    return table[np.searchsorted(middles, values, side="left")]


def by_blocks(values, size):
    """In rows of `size`, the last one filled with zeros; and each row's largest magnitude."""
    rows = np.pad(values, (0, -len(values) % size)).reshape(-1, size)
    return rows, np.abs(rows).max(axis=1, keepdims=True)


def round_trip(array):
    blocks, largest = by_blocks(array.ravel(), BLOCK)
    mean = np.float32(largest.mean(dtype=np.float64))
    scales, nested = by_blocks(largest.ravel() - mean, NESTED_BLOCK)
    scales = nearest(SCALES, scales * (np.float32(1) / nested)) * nested
    scales = scales.ravel()[:len(blocks), None] + mean
    values = nearest(VALUES, blocks * (np.float32(1) / largest)) * scales
    return values.ravel()[:array.size].reshape(array.shape)
