// SPDX-License-Identifier: MIT
// inlay's side of test_quants.py: blocks to floats and back, from the standard input to the output.
// usage: quant_driver decode|encode FORMAT
#include "quant/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *read_all(size_t *size)
{
    size_t cap = 1u << 20;
    uint8_t *data = malloc(cap);
    *size = 0;
    for (size_t got = 1; data && got > 0; *size += got) {
        if (*size == cap)
            data = realloc(data, cap *= 2);
        got = data ? fread(data + *size, 1, cap - *size, stdin) : 0;
    }
    return data;
}

int main(int argc, char **argv)
{
    const inl_format *f = argc == 3 ? inl_format_by_name(argv[2]) : NULL;
    bool decode = f && strcmp(argv[1], "decode") == 0;
    if (!f || (!decode && !f->encode)) {
        fprintf(stderr, "usage: quant_driver decode|encode FORMAT\n");
        return 2;
    }
    size_t size;
    uint8_t *in = read_all(&size);
    uint64_t blocks = size / (decode ? f->block_bytes : 4ull * f->block_elements);
    uint64_t out_size = blocks * (decode ? 4ull * f->block_elements : f->block_bytes);
    void *out = malloc(out_size + 1);
    if (!in || !out)
        return 1;
    if (decode)
        f->decode(in, out, blocks * f->block_elements);
    else
        f->encode((const float *)(const void *)in, out, blocks * f->block_elements);
    int failed = fwrite(out, 1, out_size, stdout) != out_size;
    free(in);
    free(out);
    return failed;
}
