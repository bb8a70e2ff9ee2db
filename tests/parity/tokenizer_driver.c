// SPDX-License-Identifier: MIT
// inlay's side of the tokenizer comparisons. Texts come from the standard input, each after its
// size; the ids and what they decode to go to the standard output, each after its count or size.
// Sizes are 32-bit, least byte first, as this machine has them. The time goes to the standard
// error. usage: tokenizer_driver FOLDER|GGUF text|special|info
#include "base/file.h"
#include "io/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void log_message(void *user, inlay_log_level level, const char *message)
{
    (void)user;
    if (level <= INLAY_LOG_WARN)
        fprintf(stderr, "%s\n", message);
}

static inlay_result open_tokenizer(const inl_env *env, const char *path, inl_tokenizer **out)
{
    if (inl_is_folder(path))
        return inl_tokenizer_open_folder(env, path, out);
    inl_gguf *gguf;
    INL_TRY(inl_gguf_open(env, path, &gguf));
    inlay_result result = inl_tokenizer_create(env, gguf, out);
    inl_gguf_close(&gguf);
    return result;
}

static void put(const void *data, size_t size)
{
    if (fwrite(data, 1, size, stdout) != size)
        exit(1);
}

static bool get(void *data, size_t size)
{
    return fread(data, 1, size, stdin) == size;
}

// What generation would print, id by id: the start is where nothing but control tokens came before.
static void put_decoded(const inl_tokenizer *t, const int32_t *ids, size_t count)
{
    uint32_t size = 0, first = 0;
    while (first < count && inl_tokenizer_decode(t, ids[first], false).size == 0)
        first++;
    for (size_t i = 0; i < count; i++)
        size += (uint32_t)inl_tokenizer_decode(t, ids[i], i == first).size;
    put(&size, sizeof(size));
    for (size_t i = 0; i < count; i++) {
        inl_slice bytes = inl_tokenizer_decode(t, ids[i], i == first);
        put(bytes.data, bytes.size);
    }
}

static int run(const inl_env *env, const inl_tokenizer *t, bool parse_special)
{
    uint32_t size;
    clock_t spent = 0;
    while (get(&size, sizeof(size))) {
        char *text = malloc(size + 1);
        int32_t *ids;
        size_t count;
        if (!text || !get(text, size))
            return 1;
        clock_t start = clock();
        if (inl_tokenizer_encode(env, t, text, size, parse_special, &ids, &count) != INLAY_OK)
            return 1;
        spent += clock() - start;
        uint32_t short_count = (uint32_t)count;
        put(&short_count, sizeof(short_count));
        put(ids, count * sizeof(*ids));
        put_decoded(t, ids, count);
        inl_free(env, ids);
        free(text);
    }
    fprintf(stderr, "%.6f seconds\n", (double)spent / CLOCKS_PER_SEC);
    return 0;
}

static void show_info(const inl_tokenizer *t)
{
    const inl_tokenizer_info *i = inl_tokenizer_get_info(t);
    printf("%s %" PRIu32 " %" PRId32 " %" PRId32 " %d %d", i->model, i->vocab, i->bos, i->eos,
           i->add_bos, i->add_eos);
    for (uint32_t e = 0; e < i->end_count; e++)
        printf(" %" PRId32, i->ends[e]);
    printf("\n%s", i->chat_template ? i->chat_template : "");
}

int main(int argc, char **argv)
{
    inlay_env given = {.log = log_message};
    inl_env env = inl_env_resolve(&given);
    inl_tokenizer *t = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: tokenizer_driver FOLDER|GGUF text|special|info\n");
        return 2;
    }
    if (open_tokenizer(&env, argv[1], &t) != INLAY_OK)
        return 1;
    int status = 0;
    if (strcmp(argv[2], "info") == 0)
        show_info(t);
    else
        status = run(&env, t, strcmp(argv[2], "special") == 0);
    inl_tokenizer_destroy(&t);
    return status;
}
