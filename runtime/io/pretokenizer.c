// SPDX-License-Identifier: MIT
#include "io/pretokenizer.h"

#include "io/utf8.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PASSES 4
#define MAX_NAMES 12

// The expressions, built from parts. Space is Unicode's White_Space, spelled out: PCRE's \s also
// takes U+180E, the expressions' home engines do not.
#define WS                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"             \
    "\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" WS "]"
#define TRAILING_SPACE SPACE "+(?![^" WS "])|" SPACE "+"
#define SUFFIXES "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define PUNCTUATION " ?[^" WS "\\p{L}\\p{N}]+"

#define GPT2                                                                                       \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" PUNCTUATION "|" TRAILING_SPACE
#define LLAMA3(digits)                                                                             \
    SUFFIXES "|" BEFORE_WORD "\\p{L}+|" digits "|" PUNCTUATION "[\\r\\n]*|" SPACE                  \
             "*[\\r\\n]+|" TRAILING_SPACE
#define QWEN35                                                                                     \
    SUFFIXES "|" BEFORE_WORD "[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS                                      \
             "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" TRAILING_SPACE
#define CASED(suffix, digits)                                                                      \
    BEFORE_WORD UPPER "*" LOWER "+" suffix "|" BEFORE_WORD UPPER "+" LOWER "*" suffix "|" digits   \
                "|" PUNCTUATION "[\\r\\n/]*|" SPACE "*[\\r\\n]+|" TRAILING_SPACE

typedef struct family {
    const char *names[MAX_NAMES];
    const char *passes[MAX_PASSES]; // each cuts every piece the one before it left
    bool ignores_merges;
    bool adds_bos;
} family;

static const family families[] = {
    {.names = {"default"},
     .passes = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4",
               "trillion"},
     .passes = {GPT2}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3"},
     .passes = {LLAMA3("\\p{N}{1,3}")},
     .ignores_merges = true,
     .adds_bos = true},
    {.names = {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, .passes = {LLAMA3("\\p{N}{1,3}")}},
    {.names = {"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2"},
     .passes = {LLAMA3("\\p{N}")}},
    {.names = {"qwen35"}, .passes = {QWEN35}},
    {.names = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
     .passes = {"\\p{N}", GPT2}},
    {.names = {"falcon"}, .passes = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = {"tekken"},
     .passes = {CASED("", "\\p{N}")},
     .ignores_merges = true,
     .adds_bos = true},
    {.names = {"gpt-4o", "llama4"}, .passes = {CASED(SUFFIXES "?", "\\p{N}{1,3}")}},
};

struct inl_pretokenizer {
    const inl_env *env;
    const family *family;
    pcre2_general_context *memory;
    pcre2_code *codes[MAX_PASSES];
    uint32_t passes;
};

// Says nothing on failure: PCRE2 goes on where it can, and its callers here report where it cannot.
static void *pcre_malloc(size_t size, void *user)
{
    const inl_env *env = user;
    return env->realloc(env->realloc_user, NULL, size);
}

static void pcre_free(void *ptr, void *user)
{
    inl_free(user, ptr);
}

static inlay_result fail_memory(const inl_env *env)
{
    return inl_fail(env, INLAY_ERROR_OUT_OF_MEMORY,
                    "out of host memory for the pre-tokenizer's expressions");
}

static const family *find_family(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(families); i++)
        for (size_t j = 0; j < MAX_NAMES && families[i].names[j]; j++)
            if (strcmp(families[i].names[j], name) == 0)
                return &families[i];
    return NULL;
}

static inlay_result fail_unknown(const inl_env *env, const char *file, const char *name)
{
    char known[512] = "";
    for (size_t i = 0; i < INL_COUNT(families); i++)
        for (size_t j = 0; j < MAX_NAMES && families[i].names[j]; j++) {
            strncat(known, known[0] ? ", " : "", sizeof(known) - strlen(known) - 1);
            strncat(known, families[i].names[j], sizeof(known) - strlen(known) - 1);
        }
    return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the pre-tokenizer \"%s\" is unknown (known: %s)", file, name, known);
}

static inlay_result compile(inl_pretokenizer *p, const char *pattern)
{
    int error;
    size_t offset;
    pcre2_compile_context *context = pcre2_compile_context_create(p->memory);
    if (!context)
        return fail_memory(p->env);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &offset, context);
    pcre2_compile_context_free(context);
    if (!code && error == PCRE2_ERROR_HEAP_FAILED)
        return fail_memory(p->env);
    if (!code)
        return inl_fail(p->env, INLAY_ERROR_INTERNAL,
                        "a pre-tokenizer expression does not compile (error %d at %zu)", error,
                        offset);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); // where there is no JIT the interpreter does it
    p->codes[p->passes++] = code;
    return INLAY_OK;
}

inlay_result inl_pretokenizer_create(const inl_env *env, const char *file, const char *name,
                                     inl_pretokenizer **out)
{
    *out = NULL;
    const family *found = find_family(name);
    if (!found)
        return fail_unknown(env, file, name);
    inl_pretokenizer *p = inl_alloc(env, 1, sizeof(*p));
    if (!p)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->env = env;
    p->family = found;
    p->memory = pcre2_general_context_create(pcre_malloc, pcre_free, (void *)env);
    inlay_result result = p->memory ? INLAY_OK : fail_memory(env);
    for (size_t i = 0; i < MAX_PASSES && found->passes[i] && result == INLAY_OK; i++)
        result = compile(p, found->passes[i]);
    *out = p;
    if (result != INLAY_OK)
        inl_pretokenizer_destroy(out);
    return result;
}

void inl_pretokenizer_destroy(inl_pretokenizer **pretokenizer)
{
    inl_pretokenizer *p = *pretokenizer;
    *pretokenizer = NULL;
    if (!p)
        return;
    for (uint32_t i = 0; i < p->passes; i++)
        pcre2_code_free(p->codes[i]);
    pcre2_general_context_free(p->memory);
    inl_free(p->env, p);
}

bool inl_pretokenizer_ignores_merges(const inl_pretokenizer *pretokenizer)
{
    return pretokenizer->family->ignores_merges;
}

bool inl_pretokenizer_adds_bos(const inl_pretokenizer *pretokenizer)
{
    return pretokenizer->family->adds_bos;
}

// One call of inl_pretokenizer_split.
typedef struct splitter {
    const inl_env *env;
    const inl_pretokenizer *pretokenizer;
    pcre2_match_data *matches[MAX_PASSES];
    pcre2_match_context *context;
    inl_piece_fn piece;
    void *piece_context;
} splitter;

// The first match at or after `at`; *start == size where there is none.
static inlay_result next_match(splitter *s, uint32_t pass, const char *text, size_t size, size_t at,
                               size_t *start, size_t *end)
{
    const pcre2_code *code = s->pretokenizer->codes[pass];
    uint32_t options = PCRE2_NO_UTF_CHECK; // else each call would read the whole rest
    int found = pcre2_match(code, (PCRE2_SPTR)text, size, at, options, s->matches[pass],
                            s->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(code, (PCRE2_SPTR)text, size, at, options | PCRE2_NO_JIT,
                            s->matches[pass], s->context);
    *start = *end = size;
    if (found == PCRE2_ERROR_NOMATCH)
        return INLAY_OK;
    if (found == PCRE2_ERROR_NOMEMORY || found == PCRE2_ERROR_HEAPLIMIT)
        return inl_fail(s->env, INLAY_ERROR_OUT_OF_MEMORY,
                        "the pre-tokenizer ran out of memory on a text of %zu bytes", size);
    if (found < 0)
        return inl_fail(s->env, INLAY_ERROR_INTERNAL, "the pre-tokenizer failed (error %d)", found);
    const size_t *ends = pcre2_get_ovector_pointer(s->matches[pass]);
    if (ends[1] <= ends[0])
        return inl_fail(s->env, INLAY_ERROR_INTERNAL, "a pre-tokenizer expression matched nothing");
    *start = ends[0];
    *end = ends[1];
    return INLAY_OK;
}

// `text` is UTF-8. Matches and the gaps between them both go to the next pass.
static inlay_result split_pass(splitter *s, uint32_t pass, const char *text, size_t size)
{
    if (pass == s->pretokenizer->passes)
        return s->piece(s->piece_context, text, size);
    for (size_t at = 0; at < size;) {
        size_t start, end;
        INL_TRY(next_match(s, pass, text, size, at, &start, &end));
        if (start > at)
            INL_TRY(split_pass(s, pass + 1, text + at, start - at));
        if (end > start)
            INL_TRY(split_pass(s, pass + 1, text + start, end - start));
        at = end;
    }
    return INLAY_OK;
}

// Well-formed stretches go through the expressions, other bytes past them.
static inlay_result split_text(splitter *s, const char *text, size_t size)
{
    size_t start = 0;
    for (size_t at = 0; at < size;) {
        size_t length = inl_utf8_length(text + at, size - at);
        if (length == 0) {
            INL_TRY(split_pass(s, 0, text + start, at - start));
            INL_TRY(s->piece(s->piece_context, text + at, 1));
            start = at + 1;
            length = 1;
        }
        at += length;
    }
    return split_pass(s, 0, text + start, size - start);
}

static inlay_result start_splitter(splitter *s)
{
    const inl_pretokenizer *p = s->pretokenizer;
    s->context = pcre2_match_context_create(p->memory);
    if (!s->context)
        return fail_memory(s->env);
    pcre2_set_match_limit(s->context, UINT32_MAX); // ours do not explode, but texts may be long
    for (uint32_t i = 0; i < p->passes; i++) {
        s->matches[i] = pcre2_match_data_create(1, p->memory);
        if (!s->matches[i])
            return fail_memory(s->env);
    }
    return INLAY_OK;
}

inlay_result inl_pretokenizer_split(const inl_env *env, const inl_pretokenizer *pretokenizer,
                                    const char *text, size_t size, inl_piece_fn piece,
                                    void *context)
{
    splitter s = {.env = env, .pretokenizer = pretokenizer, .piece = piece,
                  .piece_context = context};
    inlay_result result = start_splitter(&s);
    if (result == INLAY_OK)
        result = split_text(&s, text, size);
    for (uint32_t i = 0; i < pretokenizer->passes; i++)
        pcre2_match_data_free(s.matches[i]);
    pcre2_match_context_free(s.context);
    return result;
}
