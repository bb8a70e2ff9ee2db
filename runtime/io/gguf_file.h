// SPDX-License-Identifier: MIT
// What is behind an inl_gguf: for the files that fill one (gguf.c from one file, gguf_split.c from
// several, gguf_view.c from what is no GGUF at all) and the one that reads it (gguf_values.c).
#ifndef INL_IO_GGUF_FILE_H
#define INL_IO_GGUF_FILE_H

#include "base/file.h"
#include "io/gguf.h"

typedef struct inl_gguf_entry {
    inl_slice key;
    uint64_t at;        // file offset of the entry
    inl_gguf_kind kind; // of the value, or of the array's elements
    bool is_array;
    uint64_t count;       // elements, 1 where it is no array
    const uint8_t *value; // first element; a string starts with its length
} inl_gguf_entry;

// Sorted by name, then number. Without names: by number.
typedef struct inl_gguf_name {
    inl_slice name;
    uint64_t number; // a file offset
    uint32_t index;
} inl_gguf_name;

struct inl_gguf {
    inl_env env;
    inl_map map; // empty when the bytes are the caller's
    char *path;
    const uint8_t *data;
    uint64_t size;
    inl_gguf_entry *entries;
    inl_gguf_tensor *tensors;
    char *tensor_names; // where the tensors' names lie
    inl_gguf_name *entry_order, *tensor_order;
    uint32_t entry_count, tensor_count;
    uint64_t file_bytes; // of all files
    // A view alone.
    bool is_folder, is_multimodal;
    uint8_t *metadata; // what `data` points to
    void *owner;       // of what the tensors point to
    inl_gguf_release *release;
    // A split model's first file alone: the others.
    inl_gguf **shards;
    uint32_t shard_count;
};

extern const uint8_t inl_gguf_kind_bytes[13]; // 0: no fixed size

// A handle without contents, or NULL.
inl_gguf *inl_gguf_new(const inl_env *env, const char *path);
// One file, whatever it says of others.
inlay_result inl_gguf_open_one(const inl_env *env, const char *path, inl_gguf **out);
// The header and the metadata of gguf->data, tensors left out.
inlay_result inl_gguf_read_metadata(inl_gguf *gguf);
// Fills tensor_order; UINT32_MAX or the index of a tensor whose name is another's too.
uint32_t inl_gguf_order_tensors(inl_gguf *gguf);
const inl_gguf_entry *inl_gguf_find_entry(const inl_gguf *gguf, const char *key);
const inl_gguf_name *inl_gguf_find_name(const inl_gguf_name *names, uint32_t count,
                                        const char *name);
// Where `gguf` is one file of a split model, the others' tensors too; see gguf_split.c.
inlay_result inl_gguf_open_split(inl_gguf **gguf);

#endif
