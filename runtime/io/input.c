// SPDX-License-Identifier: MIT
#include "io/input.h"

#include <string.h>
#if INL_HAVE_ZSTD
#include <zstd.h>
#endif

#define CHUNK (1u << 18)        // bytes unpacked at a time
#define MAX_WINDOW (256u << 20) // a record longer than this is no record but a bomb

void inl_input_skip(inl_input *in, uint64_t count)
{
    in->data += count;
    in->size -= count;
    in->start += in->stream ? (size_t)count : 0;
}

static void skip_byte_order_mark(inl_input *in)
{
    if (in->size >= 3 && memcmp(in->data, "\xef\xbb\xbf", 3) == 0)
        inl_input_skip(in, 3);
}

#if INL_HAVE_ZSTD

static inlay_result make_room(inl_input *in)
{
    if (in->start > 0) {
        memmove(in->buffer, in->buffer + in->start, in->end - in->start);
        in->end -= in->start;
        in->start = 0;
    }
    if (in->end > MAX_WINDOW)
        return inl_fail(in->env, INLAY_ERROR_BAD_FILE, "%s: a record is longer than %u MiB",
                        in->name, MAX_WINDOW >> 20);
    return inl_grow(in->env, (void **)&in->buffer, &in->cap, in->end + CHUNK, 1);
}

static inlay_result unpack(inl_input *in)
{
    ZSTD_inBuffer from = {in->packed, in->packed_size, in->packed_at};
    ZSTD_outBuffer to = {in->buffer + in->end, CHUNK, 0};
    size_t wanted = ZSTD_decompressStream(in->stream, &to, &from);
    if (ZSTD_isError(wanted))
        return inl_fail(in->env, INLAY_ERROR_BAD_FILE, "%s: zstd at byte %llu: %s", in->name,
                        (unsigned long long)in->packed_at, ZSTD_getErrorName(wanted));
    in->packed_at = from.pos;
    in->end += to.pos;
    in->wanted = wanted;
    in->ended = in->packed_at == in->packed_size && to.pos < to.size;
    if (in->ended && wanted > 0)
        return inl_fail(in->env, INLAY_ERROR_BAD_FILE,
                        "%s: the zstd stream ends early, at byte %llu", in->name,
                        (unsigned long long)in->packed_at);
    return INLAY_OK;
}

inlay_result inl_input_more(inl_input *in)
{
    if (in->ended)
        return INLAY_OK;
    INL_TRY(make_room(in));
    size_t before = in->end;
    while (!in->ended && in->end == before)
        INL_TRY(unpack(in));
    in->data = in->buffer + in->start;
    in->size = in->end - in->start;
    return INLAY_OK;
}

static inlay_result open_packed(inl_input *in, const char *data, uint64_t size)
{
    in->packed = (const uint8_t *)data;
    in->packed_size = size;
    in->stream = ZSTD_createDStream();
    if (!in->stream)
        return inl_fail(in->env, INLAY_ERROR_OUT_OF_MEMORY, "%s: zstd has no memory", in->name);
    return inl_input_more(in);
}

#else

inlay_result inl_input_more(inl_input *in)
{
    in->ended = true;
    return INLAY_OK;
}

static inlay_result open_packed(inl_input *in, const char *data, uint64_t size)
{
    (void)data;
    (void)size;
    return inl_fail(in->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: this build was made without libzstd and reads no .zst", in->name);
}

#endif

inlay_result inl_input_open(const inl_env *env, const char *name, const char *data, uint64_t size,
                            bool packed, inl_input *out)
{
    *out = (inl_input){.env = env, .name = name};
    if (packed) {
        inlay_result result = open_packed(out, data, size);
        if (result != INLAY_OK) {
            inl_input_close(out);
            return result;
        }
    } else {
        out->data = data;
        out->size = size;
        out->ended = true;
    }
    skip_byte_order_mark(out);
    return INLAY_OK;
}

void inl_input_close(inl_input *in)
{
#if INL_HAVE_ZSTD
    ZSTD_freeDStream(in->stream);
#endif
    if (in->env)
        inl_free(in->env, in->buffer);
    *in = (inl_input){0};
}
