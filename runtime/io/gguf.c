// SPDX-License-Identifier: MIT
// Reading: one pass over header, metadata and tensor list checks all of it, then both lists are
// sorted by name, which finds duplicates and serves the look-ups. Nothing is copied from the map
// but tensor names, and nothing is allocated that is not a small multiple of bytes the file has.
// Numbers are read in the machine's order, which is the file's: inlay runs on little-endian ones.
#include "io/gguf_file.h"

#include "quant/format.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_ALIGNMENT 32
#define MAX_KEY_BYTES 65535
#define NAME_ROOM 64        // ggml's limit for tensor names, with the NUL
#define MIN_ENTRY_BYTES 13  // an empty key, a kind, one byte of value
#define MIN_TENSOR_BYTES 32 // an empty name, one dimension
#define PRINTABLE_BYTES 72

typedef struct reader {
    inl_gguf *gguf;
    uint64_t at;    // next byte
    char item[160]; // what is being read, for messages
} reader;

const uint8_t inl_gguf_kind_bytes[13] = {
    [INL_GGUF_U8] = 1,  [INL_GGUF_I8] = 1,  [INL_GGUF_U16] = 2,    [INL_GGUF_I16] = 2,
    [INL_GGUF_U32] = 4, [INL_GGUF_I32] = 4, [INL_GGUF_F32] = 4,    [INL_GGUF_BOOL] = 1,
    [INL_GGUF_U64] = 8, [INL_GGUF_I64] = 8, [INL_GGUF_F64] = 8,    [INL_GGUF_STRING] = 0,
    [INL_GGUF_ARRAY] = 0,
};

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, 8);
    return value;
}

// ---- messages

// Names come from the file: what could steer a terminal becomes '?', what is long is cut.
static const char *printable(inl_slice text, char out[PRINTABLE_BYTES])
{
    uint64_t count = INL_MIN(text.size, PRINTABLE_BYTES - 4);
    for (uint64_t i = 0; i < count; i++)
        out[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? text.data[i] : '?';
    snprintf(out + count, 4, "%s", count < text.size ? "..." : "");
    return out;
}

INL_PRINTF(2, 3)
static void set_item(reader *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->item, sizeof(r->item), fmt, args);
    va_end(args);
}

INL_PRINTF(4, 5)
static inlay_result reject(const reader *r, inlay_result result, uint64_t at, const char *fmt, ...)
{
    char text[320];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return inl_fail(&r->gguf->env, result, "%s: %s (%s, byte offset %llu)", r->gguf->path, text,
                    r->item, (unsigned long long)at);
}

// ---- bytes

static uint64_t bytes_left(const reader *r)
{
    return r->gguf->size - r->at;
}

// The next `bytes`, or NULL after logging.
static const uint8_t *take(reader *r, uint64_t bytes, const char *what)
{
    if (bytes > bytes_left(r)) {
        reject(r, INLAY_ERROR_BAD_FILE, r->at,
               "the file ends within the %s: %llu bytes wanted, %llu left", what,
               (unsigned long long)bytes, (unsigned long long)bytes_left(r));
        return NULL;
    }
    r->at += bytes;
    return r->gguf->data + (r->at - bytes);
}

static inlay_result take_u32(reader *r, const char *what, uint32_t *out)
{
    const uint8_t *p = take(r, 4, what);
    *out = p ? load_u32(p) : 0;
    return p ? INLAY_OK : INLAY_ERROR_BAD_FILE;
}

static inlay_result take_u64(reader *r, const char *what, uint64_t *out)
{
    const uint8_t *p = take(r, 8, what);
    *out = p ? load_u64(p) : 0;
    return p ? INLAY_OK : INLAY_ERROR_BAD_FILE;
}

static inlay_result take_string(reader *r, const char *what, inl_slice *out)
{
    uint64_t at = r->at, size;
    *out = (inl_slice){0};
    INL_TRY(take_u64(r, what, &size));
    if (size > bytes_left(r))
        return reject(r, INLAY_ERROR_BAD_FILE, at,
                      "the %s claims %llu bytes, but %llu are left in the file", what,
                      (unsigned long long)size, (unsigned long long)bytes_left(r));
    *out = (inl_slice){(const char *)r->gguf->data + r->at, size};
    r->at += size;
    return INLAY_OK;
}

// ---- sorting and finding

static inl_slice name_of(const inl_gguf_tensor *t)
{
    return (inl_slice){t->name, strlen(t->name)};
}

static int compare_names(inl_slice a, inl_slice b)
{
    uint64_t common = INL_MIN(a.size, b.size);
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static bool is_before(const inl_gguf_name *a, const inl_gguf_name *b)
{
    int order = compare_names(a->name, b->name);
    return order < 0 || (order == 0 && a->number < b->number);
}

static void sift_down(inl_gguf_name *items, uint64_t root, uint64_t count)
{
    inl_gguf_name moving = items[root];
    for (uint64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && is_before(&items[child], &items[child + 1]))
            child++;
        if (!is_before(&moving, &items[child]))
            break;
        items[root] = items[child];
    }
    items[root] = moving;
}

// Heap sort: in place, and no file can make it slow, unlike a hash table or quicksort.
static void sort(inl_gguf_name *items, uint64_t count)
{
    for (uint64_t i = count / 2; i-- > 0;)
        sift_down(items, i, count);
    for (uint64_t end = count; end > 1;) {
        inl_gguf_name last = items[--end];
        items[end] = items[0];
        items[0] = last;
        sift_down(items, 0, end);
    }
}

const inl_gguf_name *inl_gguf_find_name(const inl_gguf_name *items, uint32_t count,
                                        const char *name)
{
    inl_slice wanted = {name, strlen(name)};
    for (uint32_t low = 0, high = count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare_names(wanted, items[middle].name);
        if (order == 0)
            return &items[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

// Sorts, and refuses two equal names: the later one is reported.
static inlay_result sort_names(reader *r, const char *what, inl_gguf_name *items, uint32_t count)
{
    sort(items, count);
    for (uint32_t i = 1; i < count; i++) {
        if (compare_names(items[i - 1].name, items[i].name) != 0)
            continue;
        char name[PRINTABLE_BYTES];
        set_item(r, "%s %u, \"%s\"", what, items[i].index, printable(items[i].name, name));
        return reject(r, INLAY_ERROR_BAD_FILE, items[i].number, "the name was there before");
    }
    return INLAY_OK;
}

uint32_t inl_gguf_order_tensors(inl_gguf *gguf)
{
    inl_gguf_name *order = gguf->tensor_order;
    for (uint32_t i = 0; i < gguf->tensor_count; i++)
        order[i] = (inl_gguf_name){name_of(&gguf->tensors[i]), i, i};
    sort(order, gguf->tensor_count);
    for (uint32_t i = 1; i < gguf->tensor_count; i++)
        if (compare_names(order[i - 1].name, order[i].name) == 0)
            return order[i].index;
    return UINT32_MAX;
}

// ---- header

static inlay_result check_version(const reader *r, uint32_t version)
{
    if (version == 2 || version == 3)
        return INLAY_OK;
    if (version == 1)
        return reject(r, INLAY_ERROR_UNSUPPORTED, 4,
                      "GGUF version 1 is not supported: convert the model again to version 3");
    if ((version & 0xffffu) == 0)
        return reject(r, INLAY_ERROR_UNSUPPORTED, 4,
                      "big-endian GGUF is not supported: convert the model to little-endian");
    return reject(r, INLAY_ERROR_UNSUPPORTED, 4,
                  "GGUF version %u is not supported (2 and 3 are)", version);
}

static inlay_result read_count(reader *r, const char *what, uint64_t least_bytes, uint32_t *out)
{
    uint64_t at = r->at, count;
    INL_TRY(take_u64(r, what, &count));
    if (count > bytes_left(r) / least_bytes || count > INT32_MAX)
        return reject(r, INLAY_ERROR_BAD_FILE, at,
                      "the %s is %llu, more than fit in the %llu bytes that follow", what,
                      (unsigned long long)count, (unsigned long long)bytes_left(r));
    *out = (uint32_t)count;
    return INLAY_OK;
}

static inlay_result read_header(reader *r)
{
    inl_gguf *gguf = r->gguf;
    uint32_t version;
    set_item(r, "header");
    const uint8_t *magic = take(r, 4, "magic");
    if (!magic)
        return INLAY_ERROR_BAD_FILE;
    if (memcmp(magic, "GGUF", 4) != 0)
        return reject(r, INLAY_ERROR_BAD_FILE, 0,
                      "this is no GGUF file: it starts with the bytes %02x %02x %02x %02x",
                      magic[0], magic[1], magic[2], magic[3]);
    INL_TRY(take_u32(r, "version", &version));
    INL_TRY(check_version(r, version));
    INL_TRY(read_count(r, "number of tensors", MIN_TENSOR_BYTES, &gguf->tensor_count));
    return read_count(r, "number of metadata entries", MIN_ENTRY_BYTES, &gguf->entry_count);
}

// ---- metadata

static inlay_result read_kind(reader *r, const char *what, inl_gguf_kind *out)
{
    uint64_t at = r->at;
    uint32_t kind;
    INL_TRY(take_u32(r, what, &kind));
    if (kind >= INL_COUNT(inl_gguf_kind_bytes))
        return reject(r, INLAY_ERROR_BAD_FILE, at, "the %s %u does not exist", what, kind);
    *out = (inl_gguf_kind)kind;
    return INLAY_OK;
}

static inlay_result check_bools(const reader *r, const uint8_t *values, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (values[i] > 1)
            return reject(r, INLAY_ERROR_BAD_FILE, (uint64_t)(values + i - r->gguf->data),
                          "a boolean is %u, neither 0 nor 1", values[i]);
    return INLAY_OK;
}

static inlay_result skip_values(reader *r, const inl_gguf_entry *e)
{
    uint64_t bytes;
    if (e->kind == INL_GGUF_STRING) {
        inl_slice text;
        for (uint64_t i = 0; i < e->count; i++)
            INL_TRY(take_string(r, "string", &text));
        return INLAY_OK;
    }
    if (!inl_mul_u64(e->count, inl_gguf_kind_bytes[e->kind], &bytes))
        bytes = UINT64_MAX; // more than any file has
    const uint8_t *values = take(r, bytes, e->is_array ? "array" : "value");
    if (!values)
        return INLAY_ERROR_BAD_FILE;
    return e->kind == INL_GGUF_BOOL ? check_bools(r, values, e->count) : INLAY_OK;
}

static inlay_result read_array_head(reader *r, inl_gguf_entry *e)
{
    uint64_t at = r->at;
    e->is_array = true;
    INL_TRY(read_kind(r, "element kind", &e->kind));
    if (e->kind == INL_GGUF_ARRAY)
        return reject(r, INLAY_ERROR_UNSUPPORTED, at, "arrays of arrays are not supported");
    at = r->at;
    INL_TRY(take_u64(r, "element count", &e->count));
    uint64_t least = e->kind == INL_GGUF_STRING ? 8 : inl_gguf_kind_bytes[e->kind];
    if (e->count > bytes_left(r) / least)
        return reject(r, INLAY_ERROR_BAD_FILE, at,
                      "the array claims %llu elements, more than fit in the %llu bytes that follow",
                      (unsigned long long)e->count, (unsigned long long)bytes_left(r));
    return INLAY_OK;
}

static inlay_result read_entry(reader *r, uint32_t index)
{
    inl_gguf_entry *e = &r->gguf->entries[index];
    char name[PRINTABLE_BYTES];
    set_item(r, "metadata entry %u", index);
    e->at = r->at;
    e->count = 1;
    INL_TRY(take_string(r, "key", &e->key));
    set_item(r, "metadata entry %u, \"%s\"", index, printable(e->key, name));
    if (e->key.size > MAX_KEY_BYTES)
        return reject(r, INLAY_ERROR_BAD_FILE, e->at, "the key has %llu bytes, %d are allowed",
                      (unsigned long long)e->key.size, MAX_KEY_BYTES);
    INL_TRY(read_kind(r, "kind", &e->kind));
    if (e->kind == INL_GGUF_ARRAY)
        INL_TRY(read_array_head(r, e));
    e->value = r->gguf->data + r->at;
    return skip_values(r, e);
}

static inlay_result sort_entries(reader *r)
{
    inl_gguf *gguf = r->gguf;
    gguf->entry_order = inl_alloc(&gguf->env, gguf->entry_count, sizeof(*gguf->entry_order));
    if (!gguf->entry_order)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < gguf->entry_count; i++)
        gguf->entry_order[i] = (inl_gguf_name){gguf->entries[i].key, gguf->entries[i].at, i};
    return sort_names(r, "metadata entry", gguf->entry_order, gguf->entry_count);
}

static inlay_result read_metadata(reader *r)
{
    inl_gguf *gguf = r->gguf;
    gguf->entries = inl_alloc(&gguf->env, gguf->entry_count, sizeof(*gguf->entries));
    if (!gguf->entries)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < gguf->entry_count; i++)
        INL_TRY(read_entry(r, i));
    return sort_entries(r);
}

static inlay_result read_alignment(reader *r, uint64_t *out)
{
    *out = DEFAULT_ALIGNMENT;
    const inl_gguf_entry *e = inl_gguf_find_entry(r->gguf, "general.alignment");
    if (!e)
        return INLAY_OK;
    uint32_t value = !e->is_array && e->kind == INL_GGUF_U32 ? load_u32(e->value) : 0;
    set_item(r, "metadata entry \"general.alignment\"");
    if (value == 0 || (value & (value - 1)) != 0)
        return reject(r, INLAY_ERROR_BAD_FILE, e->at,
                      "the alignment is not a power of two of kind u32");
    *out = value;
    return INLAY_OK;
}

// ---- tensors

static inlay_result read_tensor_name(reader *r, uint32_t index)
{
    inl_gguf_tensor *t = &r->gguf->tensors[index];
    uint64_t at = r->at;
    char text[PRINTABLE_BYTES];
    inl_slice name;
    set_item(r, "tensor %u", index);
    INL_TRY(take_string(r, "name", &name));
    set_item(r, "tensor %u, \"%s\"", index, printable(name, text));
    if (name.size >= NAME_ROOM)
        return reject(r, INLAY_ERROR_BAD_FILE, at, "the name has %llu bytes, %d are allowed",
                      (unsigned long long)name.size, NAME_ROOM - 1);
    if (name.size > 0 && memchr(name.data, '\0', name.size))
        return reject(r, INLAY_ERROR_BAD_FILE, at, "the name holds a NUL byte");
    t->name = r->gguf->tensor_names + (uint64_t)index * NAME_ROOM; // zeroed: the NUL is there
    if (name.size > 0)
        memcpy(t->name, name.data, name.size);
    return INLAY_OK;
}

static inlay_result read_shape(reader *r, inl_gguf_tensor *t, uint64_t *elements)
{
    uint64_t at = r->at;
    INL_TRY(take_u32(r, "number of dimensions", &t->dims));
    if (t->dims < 1 || t->dims > 4)
        return reject(r, INLAY_ERROR_BAD_FILE, at, "%u dimensions, where 1 to 4 are allowed",
                      t->dims);
    *elements = 1;
    for (uint32_t d = 0; d < 4; d++) {
        t->shape[d] = 1;
        if (d >= t->dims)
            continue;
        at = r->at;
        INL_TRY(take_u64(r, "shape", &t->shape[d]));
        if (t->shape[d] == 0)
            return reject(r, INLAY_ERROR_BAD_FILE, at, "dimension %u is zero", d);
        if (!inl_mul_u64(*elements, t->shape[d], elements))
            return reject(r, INLAY_ERROR_BAD_FILE, at, "the shape has more than 2^64 elements");
    }
    return INLAY_OK;
}

static inlay_result read_type(reader *r, inl_gguf_tensor *t, uint64_t elements)
{
    uint64_t at = r->at;
    uint32_t block_elements = 1, block_bytes = 0;
    INL_TRY(take_u32(r, "type", &t->type));
    const char *type = inl_ggml_type_info(t->type, &block_elements, &block_bytes);
    if (!type)
        return reject(r, INLAY_ERROR_UNSUPPORTED, at, "the tensor type %u is unknown", t->type);
    if (t->shape[0] % block_elements != 0)
        return reject(r, INLAY_ERROR_BAD_FILE, at,
                      "rows of %llu elements are no multiple of %s's blocks of %u",
                      (unsigned long long)t->shape[0], type, block_elements);
    if (!inl_mul_u64(elements / block_elements, block_bytes, &t->bytes))
        return reject(r, INLAY_ERROR_BAD_FILE, at, "the shape has more than 2^64 bytes");
    return INLAY_OK;
}

// *place is relative to the data section, whose start is not known before the list ends.
static inlay_result read_tensor(reader *r, uint32_t index, uint64_t alignment, inl_gguf_name *place)
{
    inl_gguf_tensor *t = &r->gguf->tensors[index];
    uint64_t elements = 0, offset, at = r->at;
    INL_TRY(read_tensor_name(r, index));
    INL_TRY(read_shape(r, t, &elements));
    INL_TRY(read_type(r, t, elements));
    INL_TRY(take_u64(r, "offset", &offset));
    if (offset % alignment != 0)
        return reject(r, INLAY_ERROR_BAD_FILE, r->at - 8,
                      "the data offset %llu is no multiple of the alignment %llu",
                      (unsigned long long)offset, (unsigned long long)alignment);
    *place = (inl_gguf_name){{NULL, 0}, offset, index};
    r->gguf->tensor_order[index] = (inl_gguf_name){name_of(t), at, index};
    return INLAY_OK;
}

static inlay_result place_tensor(reader *r, uint64_t data_start, const inl_gguf_name *place)
{
    inl_gguf *gguf = r->gguf;
    inl_gguf_tensor *t = &gguf->tensors[place->index];
    uint64_t start = 0, end = 0;
    char name[PRINTABLE_BYTES];
    set_item(r, "tensor %u, \"%s\"", place->index, printable(name_of(t), name));
    if (!inl_add_u64(data_start, place->number, &start) || !inl_add_u64(start, t->bytes, &end) ||
        end > gguf->size)
        return reject(r, INLAY_ERROR_BAD_FILE, start,
                      "the tensor's %llu bytes pass the end of the file, which has %llu bytes",
                      (unsigned long long)t->bytes, (unsigned long long)gguf->size);
    t->data = gguf->data + start;
    return INLAY_OK;
}

// `places` get sorted by offset: each tensor must end before the next one starts.
static inlay_result place_tensors(reader *r, uint64_t data_start, inl_gguf_name *places)
{
    inl_gguf *gguf = r->gguf;
    sort(places, gguf->tensor_count);
    for (uint32_t i = 0; i < gguf->tensor_count; i++) {
        INL_TRY(place_tensor(r, data_start, &places[i]));
        if (i == 0)
            continue;
        const inl_gguf_tensor *t = &gguf->tensors[places[i].index];
        const inl_gguf_tensor *before = &gguf->tensors[places[i - 1].index];
        char name[PRINTABLE_BYTES];
        if (before->data + before->bytes > t->data)
            return reject(r, INLAY_ERROR_BAD_FILE, (uint64_t)(t->data - gguf->data),
                          "the tensor's data overlap those of \"%s\"",
                          printable(name_of(before), name));
    }
    return INLAY_OK;
}

static inlay_result read_tensor_list(reader *r, inl_gguf_name *places)
{
    inl_gguf *gguf = r->gguf;
    uint64_t alignment;
    INL_TRY(read_alignment(r, &alignment));
    for (uint32_t i = 0; i < gguf->tensor_count; i++)
        INL_TRY(read_tensor(r, i, alignment, &places[i]));
    INL_TRY(sort_names(r, "tensor", gguf->tensor_order, gguf->tensor_count));
    return place_tensors(r, inl_round_up(r->at, alignment), places);
}

static inlay_result read_tensors(reader *r)
{
    inl_gguf *gguf = r->gguf;
    const inl_env *env = &gguf->env;
    gguf->tensors = inl_alloc(env, gguf->tensor_count, sizeof(*gguf->tensors));
    gguf->tensor_names = inl_alloc(env, gguf->tensor_count, NAME_ROOM);
    gguf->tensor_order = inl_alloc(env, gguf->tensor_count, sizeof(*gguf->tensor_order));
    inl_gguf_name *places = inl_alloc(env, gguf->tensor_count, sizeof(*places));
    inlay_result result = INLAY_ERROR_OUT_OF_MEMORY;
    if (gguf->tensors && gguf->tensor_names && gguf->tensor_order && places)
        result = read_tensor_list(r, places);
    inl_free(env, places);
    return result;
}

// ---- open and close

static inlay_result read_all(inl_gguf *gguf)
{
    reader r = {.gguf = gguf};
    INL_TRY(read_header(&r));
    INL_TRY(read_metadata(&r));
    return read_tensors(&r);
}

inlay_result inl_gguf_read_metadata(inl_gguf *gguf)
{
    reader r = {.gguf = gguf};
    INL_TRY(read_header(&r));
    return read_metadata(&r);
}

inl_gguf *inl_gguf_new(const inl_env *env, const char *path)
{
    inl_gguf *gguf = inl_alloc(env, 1, sizeof(*gguf));
    if (!gguf)
        return NULL;
    gguf->env = *env;
    gguf->path = inl_strdup(env, path);
    if (!gguf->path)
        inl_gguf_close(&gguf);
    return gguf;
}

static inlay_result finish(inl_gguf *gguf, inlay_result result, inl_gguf **out)
{
    if (result != INLAY_OK)
        inl_gguf_close(&gguf);
    *out = gguf;
    return result;
}

inlay_result inl_gguf_open_one(const inl_env *env, const char *path, inl_gguf **out)
{
    *out = NULL;
    inl_gguf *gguf = inl_gguf_new(env, path);
    if (!gguf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_map_open(env, path, &gguf->map);
    if (result == INLAY_OK) {
        gguf->data = gguf->map.data;
        gguf->size = gguf->file_bytes = gguf->map.size;
        result = read_all(gguf);
    }
    return finish(gguf, result, out);
}

inlay_result inl_gguf_open(const inl_env *env, const char *path, inl_gguf **out)
{
    INL_TRY(inl_gguf_open_one(env, path, out));
    return inl_gguf_open_split(out);
}

inlay_result inl_gguf_open_memory(const inl_env *env, const char *name, const uint8_t *data,
                                  uint64_t size, inl_gguf **out)
{
    *out = NULL;
    inl_gguf *gguf = inl_gguf_new(env, name);
    if (!gguf)
        return INLAY_ERROR_OUT_OF_MEMORY;
    gguf->data = data;
    gguf->size = gguf->file_bytes = size;
    return finish(gguf, read_all(gguf), out);
}

void inl_gguf_close(inl_gguf **gguf)
{
    inl_gguf *g = *gguf;
    *gguf = NULL;
    if (!g)
        return;
    inl_env env = g->env;
    for (uint32_t i = 0; i < g->shard_count; i++)
        inl_gguf_close(&g->shards[i]);
    inl_free(&env, g->shards);
    if (g->release)
        g->release(g->owner);
    inl_map_close(&g->map);
    inl_free(&env, g->metadata);
    inl_free(&env, g->path);
    inl_free(&env, g->entries);
    inl_free(&env, g->tensors);
    inl_free(&env, g->tensor_names);
    inl_free(&env, g->entry_order);
    inl_free(&env, g->tensor_order);
    inl_free(&env, g);
}
