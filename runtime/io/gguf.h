// SPDX-License-Identifier: MIT
// GGUF v2 and v3, little-endian: a checked directory over a memory map, and a writer.
// Everything in the file is untrusted: each length is bounded by the bytes that are there before
// anything is allocated; errors name the file, what was read and its byte offset.
// Format: ggml's docs/gguf.md.
#ifndef INL_IO_GGUF_H
#define INL_IO_GGUF_H

#include "base/file.h"
#include "quant/nf4.h"

typedef enum inl_gguf_kind {
    INL_GGUF_U8 = 0,
    INL_GGUF_I8 = 1,
    INL_GGUF_U16 = 2,
    INL_GGUF_I16 = 3,
    INL_GGUF_U32 = 4,
    INL_GGUF_I32 = 5,
    INL_GGUF_F32 = 6,
    INL_GGUF_BOOL = 7,
    INL_GGUF_STRING = 8,
    INL_GGUF_ARRAY = 9,
    INL_GGUF_U64 = 10,
    INL_GGUF_I64 = 11,
    INL_GGUF_F64 = 12,
} inl_gguf_kind;

// Bytes inside the map; not NUL-terminated.
typedef struct inl_slice {
    const char *data;
    uint64_t size;
} inl_slice;

#define INL_GGUF_TYPE_BNB4 (UINT32_MAX - 1) // bitsandbytes' 4 bits, in no GGUF file

typedef struct inl_gguf_tensor {
    char *name; // NUL-terminated
    uint32_t type; // ggml's id; known to quant/format.h
    uint32_t dims;
    uint64_t shape[4]; // ne order, shape[0] contiguous; unused ones are 1
    const uint8_t *data; // into the map
    uint64_t bytes;
    const char *stored_name; // of a folder: what its file calls it; else NULL
    const inl_bnb4 *bnb4; // of a folder: the values, where type is INL_GGUF_TYPE_BNB4; else NULL
} inl_gguf_tensor;

// For messages.
static inline const char *inl_gguf_stored_name(const inl_gguf_tensor *t)
{
    return t->stored_name ? t->stored_name : t->name;
}

typedef struct inl_gguf inl_gguf;

// Any file of a split model (NAME-00001-of-00003.gguf) opens all of it.
inlay_result inl_gguf_open(const inl_env *env, const char *path, inl_gguf **out);
// The same over bytes in memory that outlive the handle (fuzzing, tests). `name` is for messages.
inlay_result inl_gguf_open_memory(const inl_env *env, const char *name, const uint8_t *data,
                                  uint64_t size, inl_gguf **out);
void inl_gguf_close(inl_gguf **gguf);

const char *inl_gguf_path(const inl_gguf *gguf);
// Whether `path` is the file, or any of its parts, under whatever name.
bool inl_gguf_has_file(const inl_gguf *gguf, const char *path);
// It stands for a Hugging Face folder (hf_folder.h): rows of q and k are in Hugging Face's order.
bool inl_gguf_is_folder(const inl_gguf *gguf);
// A folder whose language model is a part of a multimodal one, and its modules named so.
bool inl_gguf_is_multimodal(const inl_gguf *gguf);
uint64_t inl_gguf_file_bytes(const inl_gguf *gguf); // of all its files
uint32_t inl_gguf_tensor_count(const inl_gguf *gguf);
const inl_gguf_tensor *inl_gguf_tensor_at(const inl_gguf *gguf, uint32_t index);
const inl_gguf_tensor *inl_gguf_find_tensor(const inl_gguf *gguf, const char *name); // NULL: none

// Metadata. false: the key is not there, or its value does not convert without loss.
bool inl_gguf_has(const inl_gguf *gguf, const char *key);
bool inl_gguf_get_u32(const inl_gguf *gguf, const char *key, uint32_t *out); // any integer kind
bool inl_gguf_get_f32(const inl_gguf *gguf, const char *key, float *out);    // from f32, f64
bool inl_gguf_get_bool(const inl_gguf *gguf, const char *key, bool *out);
bool inl_gguf_get_string(const inl_gguf *gguf, const char *key, inl_slice *out);
// Arrays: element count and kind, then the elements.
bool inl_gguf_get_array(const inl_gguf *gguf, const char *key, inl_gguf_kind *kind,
                        uint64_t *count);
// `out` has room for `count` elements. Strings are slices into the map, booleans are 0 and 1.
bool inl_gguf_read_strings(const inl_gguf *gguf, const char *key, inl_slice *out, uint64_t count);
bool inl_gguf_read_f32s(const inl_gguf *gguf, const char *key, float *out, uint64_t count);
bool inl_gguf_read_i32s(const inl_gguf *gguf, const char *key, int32_t *out, uint64_t count);

// The bytes of a whole entry, in the file's order; *key lies in them.
uint32_t inl_gguf_entry_count(const inl_gguf *gguf);
inl_slice inl_gguf_entry_at(const inl_gguf *gguf, uint32_t index, inl_slice *key);

// A view: what is no GGUF file under the names and keys that one would have. Metadata are copied;
// tensors' names too, their data stay where they are. `release` lets go of `owner`, what they lie
// in, when the view is closed.
typedef struct inl_gguf_view inl_gguf_view;
typedef void inl_gguf_release(void *owner);
inlay_result inl_gguf_view_create(const inl_env *env, inl_gguf_view **out);
void inl_gguf_view_destroy(inl_gguf_view **view);
inlay_result inl_gguf_view_string(inl_gguf_view *v, const char *key, const char *value);
inlay_result inl_gguf_view_u32(inl_gguf_view *v, const char *key, uint32_t value);
inlay_result inl_gguf_view_f32(inl_gguf_view *v, const char *key, float value);
inlay_result inl_gguf_view_bool(inl_gguf_view *v, const char *key, bool value);
inlay_result inl_gguf_view_array(inl_gguf_view *v, const char *key, inl_gguf_kind kind,
                                 const void *values, uint64_t count); // not of strings
inlay_result inl_gguf_view_strings(inl_gguf_view *v, const char *key, const inl_slice *values,
                                   uint64_t count);
inlay_result inl_gguf_view_tensor(inl_gguf_view *v, const char *name,
                                  const inl_gguf_tensor *tensor);
void inl_gguf_view_multimodal(inl_gguf_view *v, bool multimodal);
// It stands for a GGUF file that is nowhere, with its tokenizer, and not for a folder.
void inl_gguf_view_stands_alone(inl_gguf_view *v);
// The view becomes a handle that stands for the folder `path`, or is called so; on failure `owner`
// is still the caller's.
inlay_result inl_gguf_view_finish(inl_gguf_view **view, const char *path, uint64_t file_bytes,
                                  void *owner, inl_gguf_release *release, inl_gguf **out);

// Writing: collect, then write. Tensor data is borrowed until inl_gguf_writer_write returns.
typedef struct inl_gguf_writer inl_gguf_writer;
inlay_result inl_gguf_writer_create(const inl_env *env, inl_gguf_writer **out);
void inl_gguf_writer_destroy(inl_gguf_writer **writer);
inlay_result inl_gguf_writer_string(inl_gguf_writer *w, const char *key, const char *value);
inlay_result inl_gguf_writer_u32(inl_gguf_writer *w, const char *key, uint32_t value);
inlay_result inl_gguf_writer_f32(inl_gguf_writer *w, const char *key, float value);
inlay_result inl_gguf_writer_bool(inl_gguf_writer *w, const char *key, bool value);
// `values` in memory as in the file, not strings.
inlay_result inl_gguf_writer_array(inl_gguf_writer *w, const char *key, inl_gguf_kind kind,
                                   const void *values, uint64_t count);
inlay_result inl_gguf_writer_strings(inl_gguf_writer *w, const char *key, const inl_slice *values,
                                     uint64_t count);
// An entry as inl_gguf_entry_at has it.
inlay_result inl_gguf_writer_entry(inl_gguf_writer *w, inl_slice key, inl_slice entry);
// `data` NULL: it comes when the file is written.
inlay_result inl_gguf_writer_tensor(inl_gguf_writer *w, const char *name, uint32_t type,
                                    uint32_t dims, const uint64_t *shape, const void *data,
                                    uint64_t bytes);
inlay_result inl_gguf_writer_write(inl_gguf_writer *w, const char *path); // whole or not at all
// The same; `put` writes the bytes of the tensors that have no data, in the order they were added.
typedef inlay_result inl_gguf_put(void *user, uint32_t tensor, inl_writer *file);
inlay_result inl_gguf_writer_stream(inl_gguf_writer *w, const char *path, inl_gguf_put *put,
                                    void *user);

#endif
