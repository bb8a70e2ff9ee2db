// SPDX-License-Identifier: MIT
#include "io/hf_shards.h"
#include "base/file.h"
#include "io/settings.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define SINGLE "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define PICKLE "pytorch_model.bin"
#define MOST_SHARDS 9999

static inlay_result add(inl_hf_shards *s, const char *folder, const char *name)
{
    char *path = inl_path_join(&s->env, folder, name);
    if (!path)
        return INLAY_ERROR_OUT_OF_MEMORY;
    inlay_result result = inl_grow(&s->env, (void **)&s->files, &s->cap, s->count + 1,
                                   sizeof(inl_safetensors *));
    if (result == INLAY_OK && !inl_exists(path))
        result = inl_fail(&s->env, INLAY_ERROR_NOT_FOUND, "%s: a file of the model is missing",
                          path);
    else if (result == INLAY_OK)
        result = inl_safetensors_open(&s->env, path, &s->files[s->count]);
    s->count += result == INLAY_OK;
    inl_free(&s->env, path);
    return result;
}

// ---- by the index

// In this folder, whatever an index may say.
static bool is_plain(const char *name)
{
    size_t size = strlen(name), tail = strlen(".safetensors");
    return size > tail && size < 256 && strcmp(name + size - tail, ".safetensors") == 0 &&
           !strchr(name, '/');
}

static inl_safetensors *find_file(const inl_hf_shards *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *slash = strrchr(inl_safetensors_path(s->files[i]), '/');
        if (slash && strcmp(slash + 1, name) == 0)
            return s->files[i];
    }
    return NULL;
}

static inlay_result add_indexed(inl_hf_shards *s, const char *folder, const inl_settings *index,
                                const char *tensor, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name || !is_plain(name))
        return inl_settings_bad(index, tensor, "has no name of a .safetensors file beside it");
    inl_safetensors *file = find_file(s, name);
    if (!file && s->count >= MOST_SHARDS)
        return inl_settings_bad(index, "weight_map", "names more files than a model has");
    if (!file) {
        INL_TRY(add(s, folder, name));
        file = s->files[s->count - 1];
    }
    if (inl_safetensors_find(file, tensor))
        return INLAY_OK;
    return inl_fail(&s->env, INLAY_ERROR_BAD_FILE, "%s: the tensor %.200s is not in %s",
                    index->path, tensor, name);
}

static inlay_result add_all_indexed(inl_hf_shards *s, const char *folder, const inl_settings *index)
{
    json_t *map, *value;
    const char *tensor;
    INL_TRY(inl_settings_object(index, NULL, "weight_map", &map));
    if (json_object_size(map) == 0)
        return inl_settings_bad(index, "weight_map", "is missing or empty");
    json_object_foreach (map, tensor, value)
        INL_TRY(add_indexed(s, folder, index, tensor, value));
    return INLAY_OK;
}

static inlay_result open_index(inl_hf_shards *s, const char *folder, const char *path)
{
    inl_settings index;
    INL_TRY(inl_settings_open(&s->env, path, &index));
    inlay_result result = add_all_indexed(s, folder, &index);
    inl_settings_close(&index);
    return result;
}

// ---- without it

static uint32_t number_at(const char *digits)
{
    uint32_t number = 0;
    for (int i = 0; i < 5; i++)
        number = number * 10 + (uint32_t)(digits[i] - '0');
    return number;
}

// How many files "model-00001-of-00003.safetensors" says there are; 0 for other names.
static uint32_t named_count(const char *name)
{
    static const char pattern[] = "model-00000-of-00000.safetensors";
    if (strlen(name) != strlen(pattern))
        return 0;
    for (size_t i = 0; pattern[i]; i++)
        if (pattern[i] == '0' ? name[i] < '0' || name[i] > '9' : name[i] != pattern[i])
            return 0;
    return number_at(name + 15);
}

static inlay_result count_files(const inl_hf_shards *s, const char *folder, uint32_t *count)
{
    inlay_result result = INLAY_OK;
    DIR *entries = opendir(folder);
    *count = 0;
    for (struct dirent *e; entries && result == INLAY_OK && (e = readdir(entries));) {
        uint32_t named = named_count(e->d_name);
        if (named > 0 && *count > 0 && named != *count)
            result = inl_fail(&s->env, INLAY_ERROR_BAD_FILE,
                              "%s: there are files of a model in %u parts and of one in %u, and no "
INDEX, folder, INL_MIN(named, *count), INL_MAX(named, *count));
        if (named > 0)
            *count = named;
    }
    if (entries)
        closedir(entries);
    return result;
}

static bool has_pickle(const inl_hf_shards *s, const char *folder)
{
    char *path = inl_path_join(&s->env, folder, PICKLE);
    bool found = path && inl_exists(path);
    inl_free(&s->env, path);
    return found;
}

static inlay_result open_numbered(inl_hf_shards *s, const char *folder)
{
    uint32_t count;
    INL_TRY(count_files(s, folder, &count));
    if (count == 0 && has_pickle(s, folder))
        return inl_fail(&s->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: " PICKLE " is not read, as it could be a program: save the model with "
                        "safe_serialization", folder);
    if (count == 0 || count > MOST_SHARDS)
        return inl_fail(&s->env, INLAY_ERROR_NOT_FOUND,
                        "%s: there is no " SINGLE " and no " INDEX, folder);
    for (uint32_t i = 1; i <= count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", i, count);
        INL_TRY(add(s, folder, name));
    }
    return INLAY_OK;
}

// ---- all

static inlay_result check_once(const inl_hf_shards *s)
{
    for (size_t i = 1; i < s->count; i++)
        for (uint32_t t = 0; t < inl_safetensors_count(s->files[i]); t++) {
            const char *name = inl_safetensors_at(s->files[i], t)->name;
            for (size_t k = 0; k < i; k++)
                if (inl_safetensors_find(s->files[k], name))
                    return inl_fail(&s->env, INLAY_ERROR_BAD_FILE,
                                    "%s: the tensor %.200s is in %s too",
                                    inl_safetensors_path(s->files[i]), name,
                                    inl_safetensors_path(s->files[k]));
        }
    return INLAY_OK;
}

static inlay_result open_all(inl_hf_shards *s, const char *folder)
{
    char *single = inl_path_join(&s->env, folder, SINGLE);
    char *index = inl_path_join(&s->env, folder, INDEX);
    inlay_result result = single && index ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK)
        result = inl_exists(single)  ? add(s, folder, SINGLE)
                 : inl_exists(index) ? open_index(s, folder, index)
                                     : open_numbered(s, folder);
    inl_free(&s->env, single);
    inl_free(&s->env, index);
    return result == INLAY_OK ? check_once(s) : result;
}

inlay_result inl_hf_shards_open(const inl_env *env, const char *folder, inl_hf_shards *out)
{
    *out = (inl_hf_shards){.env = *env};
    inlay_result result = open_all(out, folder);
    if (result != INLAY_OK)
        inl_hf_shards_close(out);
    return result;
}

void inl_hf_shards_close(inl_hf_shards *s)
{
    for (size_t i = 0; i < s->count; i++)
        inl_safetensors_close(&s->files[i]);
    inl_free(&s->env, s->files);
    *s = (inl_hf_shards){.env = s->env};
}

const inl_safetensor *inl_hf_shards_find(const inl_hf_shards *s, const char *name)
{
    const inl_safetensor *found = NULL;
    for (size_t i = 0; i < s->count && !found; i++)
        found = inl_safetensors_find(s->files[i], name);
    return found;
}
