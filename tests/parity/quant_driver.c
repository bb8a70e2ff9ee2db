// SPDX-License-Identifier: MIT
// inlay's side of test_quants.py: blocks to floats and back, from the standard input to the output.
// usage: quant_driver decode|encode FORMAT
//        quant_driver codes NF4     (of floats, packed as bitsandbytes packs them)
//        quant_driver nf4|fp4 COUNT BLOCK NESTED_BLOCK OFFSET
// The last reads a tensor of bitsandbytes: its absmax as f32 (NESTED_BLOCK 0), or their map, the
// nested absmax, then the indices; then the packed codes.
#include "quant/nf4.h"

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

static uint64_t parts(uint64_t count, uint64_t size)
{
    return (count + size - 1) / size;
}

static int decode_bnb(char **argv)
{
    size_t size;
    const uint8_t *in = read_all(&size);
    inl_bnb4 t = {.count = strtoull(argv[2], NULL, 10),
                  .fp4 = strcmp(argv[1], "fp4") == 0,
                  .block = (uint32_t)strtoul(argv[3], NULL, 10),
                  .nested_block = (uint32_t)strtoul(argv[4], NULL, 10),
                  .nested_offset = strtof(argv[5], NULL)};
    uint64_t blocks = parts(t.count, t.block);
    const float *floats = (const float *)(const void *)in;
    if (t.nested_block == 0) {
        t.absmax = floats;
        t.packed = in + 4 * blocks;
    } else {
        t.nested_map = floats;
        t.nested_absmax = floats + 256;
        t.nested = in + 4 * (256 + parts(blocks, t.nested_block));
        t.packed = t.nested + blocks;
    }
    inl_env env = inl_env_resolve(NULL);
    inl_nf4 nf4;
    float *out = malloc(4 * t.count);
    if (!in || !out || inl_nf4_read(&env, &t, &nf4) != INLAY_OK)
        return 1;
    inl_nf4_decode(&nf4, out);
    return fwrite(out, 4, t.count, stdout) != t.count;
}

static int encode_codes(void)
{
    size_t size;
    const uint8_t *in = read_all(&size);
    inl_env env = inl_env_resolve(NULL);
    inl_nf4 nf4;
    if (!in || inl_nf4_encode(&env, (const float *)(const void *)in, size / 4, &nf4) != INLAY_OK)
        return 1;
    for (uint64_t i = 0; i < nf4.count; i += 2)
        putchar(nf4.codes[i] << 4 | (i + 1 < nf4.count ? nf4.codes[i + 1] : 0));
    return ferror(stdout);
}

int main(int argc, char **argv)
{
    if (argc == 6)
        return decode_bnb(argv);
    if (argc == 3 && strcmp(argv[1], "codes") == 0)
        return encode_codes();
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
