// SPDX-License-Identifier: MIT
// Split models: NAME-00001-of-00003.gguf and so on, numbers in names counted from 1, split.no in
// the metadata from 0. The first file has the model's metadata, each its own tensors. The handle is
// the first file's, with everybody's tensors.
#include "io/gguf_file.h"

#include <stdio.h>
#include <string.h>

#define NUMBER_TAIL 20 // "-00001-of-00003.gguf"
#define MOST_SHARDS 9999

// The length of what stands before "-00001-of-00003.gguf", 0 where the name does not end so.
static size_t stem_length(const char *path, uint32_t *number, uint32_t *count)
{
    size_t size = strlen(path);
    int end = 0;
    if (size <= NUMBER_TAIL)
        return 0;
    const char *tail = path + size - NUMBER_TAIL;
    for (const char *p = tail + 1; *p != '.'; p++) // sscanf would take signs and spaces
        if ((p < tail + 6 || p > tail + 9) && (*p < '0' || *p > '9'))
            return 0;
    if (sscanf(tail, "-%5u-of-%5u.gguf%n", number, count, &end) != 2 || end != NUMBER_TAIL)
        return 0;
    return size - NUMBER_TAIL;
}

static inlay_result get(const inl_gguf *gguf, const char *key, uint32_t least, uint32_t *out)
{
    if (!inl_gguf_get_u32(gguf, key, out) || *out < least)
        return inl_fail(&gguf->env, INLAY_ERROR_BAD_FILE, "%s: %s is missing or no number of files",
                        gguf->path, key);
    return INLAY_OK;
}

// What file `number` (from 0) of `count` says of itself.
static inlay_result check_number(const inl_gguf *gguf, uint32_t number, uint32_t count)
{
    uint32_t have_number, have_count;
    INL_TRY(get(gguf, "split.no", 0, &have_number));
    INL_TRY(get(gguf, "split.count", 1, &have_count));
    if (have_number == number && have_count == count)
        return INLAY_OK;
    return inl_fail(&gguf->env, INLAY_ERROR_BAD_FILE,
                    "%s: the file is part %u of %u by its metadata, %u of %u by its name",
                    gguf->path, have_number + 1, have_count, number + 1, count);
}

static char *shard_path(const inl_env *env, const char *path, size_t stem, uint32_t number,
                        uint32_t count)
{
    return inl_sprintf(env, "%.*s-%05u-of-%05u.gguf", (int)stem, path, number + 1, count);
}

static inlay_result open_shard(const inl_env *env, const char *any, size_t stem, uint32_t number,
                               uint32_t count, inl_gguf **out)
{
    char *path = shard_path(env, any, stem, number, count);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result;
    if (!inl_exists(path))
        result = inl_fail(env, INLAY_ERROR_NOT_FOUND, "%s: part %u of the %u of a split model is "
                          "missing", path, number + 1, count);
    else
        result = inl_gguf_open_one(env, path, out);
    inl_free(env, path);
    return result == INLAY_OK ? check_number(*out, number, count) : result;
}

// The first file's tensors, then the others' in turn.
static inlay_result join_tensors(inl_gguf *first)
{
    uint64_t total = first->tensor_count;
    for (uint32_t i = 0; i < first->shard_count; i++)
        total += first->shards[i]->tensor_count;
    uint32_t claimed;
    if (inl_gguf_has(first, "split.tensors.count") &&
        (!inl_gguf_get_u32(first, "split.tensors.count", &claimed) || claimed != total))
        return inl_fail(&first->env, INLAY_ERROR_BAD_FILE,
                        "%s: split.tensors.count is not the %llu tensors that the files have",
                        first->path, (unsigned long long)total);
    if (total > INT32_MAX)
        return inl_fail(&first->env, INLAY_ERROR_BAD_FILE, "%s: too many tensors", first->path);
    inl_gguf_tensor *all = inl_alloc(&first->env, total, sizeof(*all));
    if (!all)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint64_t at = first->tensor_count;
    if (at > 0)
        memcpy(all, first->tensors, at * sizeof(*all));
    for (uint32_t i = 0; i < first->shard_count; i++) {
        const inl_gguf *shard = first->shards[i];
        if (shard->tensor_count > 0)
            memcpy(all + at, shard->tensors, shard->tensor_count * sizeof(*all));
        at += shard->tensor_count;
        first->file_bytes += shard->file_bytes;
    }
    inl_free(&first->env, first->tensors);
    first->tensors = all;
    first->tensor_count = (uint32_t)total;
    return INLAY_OK;
}

static inlay_result order_tensors(inl_gguf *first)
{
    inl_free(&first->env, first->tensor_order);
    first->tensor_order =
        inl_alloc(&first->env, first->tensor_count, sizeof(*first->tensor_order));
    if (!first->tensor_order)
        return INLAY_ERROR_OUT_OF_MEMORY;
    uint32_t twice = inl_gguf_order_tensors(first);
    if (twice == UINT32_MAX)
        return INLAY_OK;
    return inl_fail(&first->env, INLAY_ERROR_BAD_FILE, "%s: tensor %s is in two of the files",
                    first->path, first->tensors[twice].name);
}

static inlay_result open_others(inl_gguf *first, size_t stem, uint32_t count)
{
    first->shards = inl_alloc(&first->env, count, sizeof(*first->shards));
    if (!first->shards)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 1; i < count; i++) {
        inl_gguf **shard = &first->shards[first->shard_count];
        inlay_result result = open_shard(&first->env, first->path, stem, i, count, shard);
        first->shard_count += *shard != NULL;
        INL_TRY(result);
    }
    INL_TRY(join_tensors(first));
    return order_tensors(first);
}

bool inl_gguf_has_file(const inl_gguf *gguf, const char *path)
{
    bool has = inl_is_same_file(gguf->path, path);
    for (uint32_t i = 0; i < gguf->shard_count; i++)
        has |= inl_is_same_file(gguf->shards[i]->path, path);
    return has;
}

// Opens the first file where `gguf` is another one.
static inlay_result move_to_first(inl_gguf **gguf, size_t stem, uint32_t number, uint32_t count)
{
    inl_gguf *other = *gguf;
    INL_TRY(check_number(other, number, count));
    if (number == 0)
        return INLAY_OK;
    *gguf = NULL;
    inlay_result result = open_shard(&other->env, other->path, stem, 0, count, gguf);
    inl_gguf_close(&other);
    return result;
}

static inlay_result open_all(inl_gguf **gguf, uint32_t count)
{
    uint32_t number = 0, named = 0;
    size_t stem = stem_length((*gguf)->path, &number, &named);
    if (stem == 0)
        return inl_fail(&(*gguf)->env, INLAY_ERROR_BAD_FILE,
                        "%s: a model split in %u files must keep its name, which ends in "
                        "-00001-of-%05u.gguf", (*gguf)->path, count, count);
    if (number == 0 || number > named || named > MOST_SHARDS)
        return inl_fail(&(*gguf)->env, INLAY_ERROR_BAD_FILE,
                        "%s: the name counts %u of %u files", (*gguf)->path, number, named);
    INL_TRY(move_to_first(gguf, stem, number - 1, named));
    return open_others(*gguf, stem, named);
}

inlay_result inl_gguf_open_split(inl_gguf **gguf)
{
    uint32_t count;
    if (!inl_gguf_has(*gguf, "split.count"))
        return INLAY_OK;
    inlay_result result = get(*gguf, "split.count", 0, &count);
    if (result == INLAY_OK && count > 1)
        result = open_all(gguf, count);
    if (result != INLAY_OK)
        inl_gguf_close(gguf);
    return result;
}
