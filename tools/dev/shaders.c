// SPDX-License-Identifier: MIT
// See shaders.h.
#define _GNU_SOURCE
#include "shaders.h"

#include "common.h"

#include "base/file.h"
#include "op/plan.h"

#if DEV_HAVE_SHADERC

#include "dev_kernels.h"

#include <dlfcn.h>
#include <errno.h>
#include <shaderc/shaderc.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

// A library in the loader's path goes before what was linked in: in the driver lab (tools/lab) that
// is the one which knows cooperative matrices.
#define SHADERC_FUNCTIONS(X)                                                                       \
    X(compile_into_preprocessed_text)                                                              \
    X(compile_into_spv)                                                                            \
    X(compile_options_add_macro_definition)                                                        \
    X(compile_options_initialize)                                                                  \
    X(compile_options_release)                                                                     \
    X(compile_options_set_include_callbacks)                                                       \
    X(compile_options_set_optimization_level)                                                      \
    X(compile_options_set_target_env)                                                              \
    X(compiler_initialize)                                                                         \
    X(compiler_release)                                                                            \
    X(get_spv_version)                                                                             \
    X(result_get_bytes)                                                                            \
    X(result_get_compilation_status)                                                               \
    X(result_get_error_message)                                                                    \
    X(result_get_length)                                                                           \
    X(result_release)
#define MEMBER(name) __typeof__(&shaderc_##name) name;
static struct api {
    SHADERC_FUNCTIONS(MEMBER)
} shaderc;

#define CACHE_VERSION 1 // of how code is compiled: flags and optimizer

typedef struct dev_shaders {
    char folder[4096], cache[4096]; // cache "": none
    inl_shader made[INL_KERNEL_COUNT];
    uint32_t compiled, found;
} dev_shaders;

static bool load_library(void)
{
    void *library = dlopen("libshaderc.so.1", RTLD_NOW | RTLD_LOCAL);
    bool all = library != NULL;
#define LOAD(name)                                                                                 \
    shaderc.name = all ? (__typeof__(shaderc.name))dlsym(library, "shaderc_" #name) : NULL;        \
    all &= shaderc.name != NULL;
    SHADERC_FUNCTIONS(LOAD)
    return all;
}

static void load(void)
{
#define LINKED(name) .name = shaderc_##name,
    if (!load_library())
        shaderc = (struct api){SHADERC_FUNCTIONS(LINKED)};
}

// ---- files

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    if (f && fseek(f, 0, SEEK_END) == 0) {
        long end = ftell(f);
        rewind(f);
        data = end >= 0 ? calloc((size_t)end + 1, 1) : NULL;
        *size = data ? fread(data, 1, (size_t)end, f) : 0;
    }
    if (f)
        fclose(f);
    return data;
}

static void make_folders(const char *path)
{
    char copy[4096];
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0777);
        *slash = '/';
    }
    mkdir(copy, 0777);
}

static void find_cache(dev_shaders *s)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (base && base[0] == '/')
        snprintf(s->cache, sizeof(s->cache), "%s/inlay/shaders", base);
    else if (home && home[0] == '/')
        snprintf(s->cache, sizeof(s->cache), "%s/.cache/inlay/shaders", home);
    if (s->cache[0])
        make_folders(s->cache);
}

// ---- compiling

// Beside the file that includes, as glslc looks; `type` is always "relative" here.
static shaderc_include_result *include_file(void *user, const char *name, int type,
                                            const char *from, size_t depth)
{
    (void)user, (void)type, (void)depth;
    shaderc_include_result *r = calloc(1, sizeof(*r));
    const char *slash = strrchr(from, '/');
    int length = slash ? (int)(slash - from) : 1;
    char *path = NULL;
    size_t size = 0;
    if (!r || asprintf(&path, "%.*s/%s", length, slash ? from : ".", name) < 0)
        abort();
    char *text = read_file(path, &size);
    r->source_name = text ? path : strdup("");
    r->source_name_length = strlen(r->source_name);
    r->content = text ? text : strdup("there is no such file");
    r->content_length = text ? size : strlen(r->content);
    if (!text)
        free(path);
    return r;
}

static void release_file(void *user, shaderc_include_result *r)
{
    (void)user;
    free((void *)r->source_name);
    free((void *)r->content);
    free(r);
}

// The flags of shaders/meson.build.
static shaderc_compile_options_t options_of(const dev_kernel *kernel)
{
    shaderc_compile_options_t o = shaderc.compile_options_initialize();
    shaderc.compile_options_set_target_env(o, shaderc_target_env_vulkan,
                                           shaderc_env_version_vulkan_1_2);
    shaderc.compile_options_set_optimization_level(o, shaderc_optimization_level_performance);
    shaderc.compile_options_set_include_callbacks(o, include_file, release_file, NULL);
    for (const char *at = kernel->defines; *at;) {
        size_t length = strcspn(at, " "), name = strcspn(at, " =");
        bool valued = name < length;
        shaderc.compile_options_add_macro_definition(o, at, name, valued ? at + name + 1 : NULL,
                                                     valued ? length - name - 1 : 0);
        at += length + (at[length] == ' ');
    }
    return o;
}

static void check_compiled(shaderc_compilation_result_t result, const char *kernel)
{
    if (shaderc.result_get_compilation_status(result) == shaderc_compilation_status_success)
        return;
    fprintf(stderr, "%s", shaderc.result_get_error_message(result));
    fprintf(stderr, "the kernel %s does not compile\n", kernel);
    exit(1);
}

// Code in `cache` under the hash of the preprocessed source, or compiled and put there.
static uint32_t *compile_cached(dev_shaders *s, shaderc_compiler_t compiler,
                                const dev_kernel *kernel, const char *path, const char *text,
                                size_t size, uint32_t *bytes)
{
    shaderc_compile_options_t o = options_of(kernel);
    shaderc_compilation_result_t plain = shaderc.compile_into_preprocessed_text(
        compiler, text, size, shaderc_compute_shader, path, "main", o);
    check_compiled(plain, kernel->name);
    unsigned version, revision;
    shaderc.get_spv_version(&version, &revision);
    uint64_t hash =
        XXH3_64bits_withSeed(shaderc.result_get_bytes(plain), shaderc.result_get_length(plain),
                             version ^ (uint64_t)revision << 24 ^ CACHE_VERSION);
    shaderc.result_release(plain);
    char kept[4200];
    snprintf(kept, sizeof(kept), "%s/%016llx.spv", s->cache, (unsigned long long)hash);
    size_t length = 0;
    uint32_t *code = s->cache[0] ? (uint32_t *)(void *)read_file(kept, &length) : NULL;
    if (code && length > 20 && length % 4 == 0 && code[0] == 0x07230203) {
        s->found++;
    } else {
        free(code);
        shaderc_compilation_result_t done =
            shaderc.compile_into_spv(compiler, text, size, shaderc_compute_shader, path, "main", o);
        check_compiled(done, kernel->name);
        length = shaderc.result_get_length(done);
        code = memcpy(malloc(length), shaderc.result_get_bytes(done), length);
        shaderc.result_release(done);
        s->compiled++;
        if (s->cache[0]) {
            inl_env silent = inl_env_resolve(NULL);
            (void)inl_file_write(&silent, kept, code, length);
        }
    }
    shaderc.compile_options_release(o);
    *bytes = (uint32_t)length;
    return code;
}

// ---- reflection

enum {
    OP_TYPE_IMAGE = 25,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_POINTER = 32,
    OP_VARIABLE = 59,
    OP_DECORATE = 71,
    BINDING = 33
};

// A kernel's bindings are the wrapper's too: those of a changed source must be what they were.
static void check_bindings(const inl_shader *old, inl_shader *made)
{
    const uint32_t *code = made->code;
    uint32_t words = made->code_bytes / 4, ids = code[3], count = 0, floats = 0, uints = 0;
    uint32_t *binding = calloc(ids, 4), *what = calloc(ids, 4); // what: 1 float, 2 image, 3 of ints
    for (uint32_t at = 5; at < words && code[at] >> 16 != 0; at += code[at] >> 16) {
        const uint32_t *a = code + at + 1;
        switch (code[at] & 0xffff) {
        case OP_DECORATE:
            if (a[1] == BINDING) {
                binding[a[0]] = a[2] + 1;
                count = INL_MAX(count, a[2] + 1);
            }
            break;
        case OP_TYPE_FLOAT: what[a[0]] = 1; break;
        case OP_TYPE_IMAGE: what[a[0]] = what[a[1]] == 1 ? 2 : 3; break;
        case OP_TYPE_POINTER: what[a[0]] = what[a[2]]; break;
        case OP_VARIABLE:
            if (binding[a[1]] && what[a[0]] == 2)
                floats |= 1u << (binding[a[1]] - 1);
            if (binding[a[1]] && what[a[0]] == 3)
                uints |= 1u << (binding[a[1]] - 1);
            break;
        default: break;
        }
    }
    free(binding);
    free(what);
    if (!old->code) // this build's compiler could not make it
        *made = (inl_shader){old->name, made->code, made->code_bytes, count, INL_NODE_PUSH,
                             floats,    uints,      old->needs};
    if (count != made->binding_count || floats != made->float_texels ||
        uints != made->uint_texels) {
        fprintf(stderr, "the kernel %s has other bindings than this build's: build anew\n",
                old->name);
        exit(1);
    }
}

// ---- in the place of the embedded ones

static const inl_shader *replace(void *user, const inl_shader *shader)
{
    dev_shaders *s = user;
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        if (shader == &s->made[i])
            return shader;
    uint32_t index = (uint32_t)(shader - inl_kernels);
    inl_shader *made = &s->made[index];
    if (made->code)
        return made;
    const dev_kernel *kernel = &dev_kernels[index];
    char path[4300];
    size_t size;
    snprintf(path, sizeof(path), "%s/%s", s->folder, kernel->source);
    char *text = read_file(path, &size);
    if (!text) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        exit(1);
    }
    shaderc_compiler_t compiler = shaderc.compiler_initialize();
    *made = *shader;
    made->code = compile_cached(s, compiler, kernel, path, text, size, &made->code_bytes);
    shaderc.compiler_release(compiler);
    free(text);
    check_bindings(shader, made);
    return made;
}

void dev_use_shaders(inl_gpu *gpu, const char *folder)
{
    if (!folder)
        return;
    dev_shaders *s = calloc(1, sizeof(*s));
    snprintf(s->folder, sizeof(s->folder), "%s", folder);
    load();
    find_cache(s);
    gpu->replace = replace;
    gpu->replace_user = s;
}

void dev_free_shaders(inl_gpu *gpu)
{
    dev_shaders *s = gpu->replace_user;
    if (!s)
        return;
    fprintf(stderr, "shaders of %s: %u compiled, %u as before\n", s->folder, s->compiled, s->found);
    for (uint32_t i = 0; i < INL_KERNEL_COUNT; i++)
        free((void *)s->made[i].code);
    free(s);
    gpu->replace = NULL;
    gpu->replace_user = NULL;
}

#else

void dev_use_shaders(inl_gpu *gpu, const char *folder)
{
    (void)gpu;
    if (!folder)
        return;
    fprintf(stderr, "--shaders needs a build with libshaderc (package libshaderc-dev)\n");
    exit(2);
}

void dev_free_shaders(inl_gpu *gpu)
{
    (void)gpu;
}

#endif
