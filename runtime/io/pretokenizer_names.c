// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "io/pretokenizer_names.h"

#include "io/regex.h"
#include "io/unicode_late.h"
#include "io/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The expressions, built from parts.
#define WS INL_REGEX_SPACES
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

// DeepSeek's. The first lists its letters: those of scripts with upper and lower case.
#define CASED_LETTERS                                                                              \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"        \
    "\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}"          \
    "\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"         \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"                     \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-"       \
    "\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}"        \
    "\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}"                                                       \
    "\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}"         \
    "\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"        \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"                  \
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-"         \
    "\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"                                                        \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}"         \
    "\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-"        \
    "\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"        \
    "\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-"      \
    "\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-"         \
    "\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
#define CJK_WORDS "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define SPACE_AT_END "(?<!" SPACE ")" SPACE "+$" // as \s+$, but looked at once in a run of spaces
// Its symbols are looked for, not only told from letters: the late ones count.
#define DS_L "\\p{L}" INL_LATE_L
#define DS_PS "\\p{P}\\p{S}" INL_LATE_P INL_LATE_S
#define DEEPSEEK3                                                                                  \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n" DS_L DS_PS "]?[" DS_L         \
    "\\p{M}" INL_LATE_M "]+| ?[" DS_PS "]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" TRAILING_SPACE

_Static_assert(sizeof(DEEPSEEK3) <= INL_PRETOKENIZER_PATTERN, "the longest expression");

const char inl_pretokenizer_gpt2[] = GPT2;

static const inl_pretokenizer_family families[] = {
    {.names = {"default"},
     .passes = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "a.x-4.0", "mellum", "exaone4",
               "trillion"},
     .passes = {GPT2}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
               "lfm2"},
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
    {.names = {"deepseek-llm"},
     .passes = {"[\\r\\n]", SPACE "?[" CASED_LETTERS "]+", SPACE "?[!-/:-~"
                "\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                SPACE_AT_END, CJK_WORDS, "\\p{N}+"}},
    {.names = {"deepseek-coder"},
     .passes = {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+", CJK_WORDS, "\\p{N}"}},
    {.names = {"deepseek-v3", "hunyuan-dense"},
     .passes = {"\\p{N}{1,3}",
                "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+", DEEPSEEK3}},
};

const inl_pretokenizer_family *inl_pretokenizer_find(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(families); i++)
        for (size_t j = 0; j < INL_PRETOKENIZER_NAMES && families[i].names[j]; j++)
            if (strcmp(families[i].names[j], name) == 0)
                return &families[i];
    return NULL;
}

// Past `text` at the start of `at`, or NULL.
static const char *past(const char *at, const char *text)
{
    size_t size = strlen(text);
    return strncmp(at, text, size) == 0 ? at + size : NULL;
}

void inl_pretokenizer_spell(const char *pattern, char *out)
{
    static const char *const shorter[][2] = {
        {"(?<!" SPACE ")", ""}, {"[^" WS "]", "\\S"}, {"[" WS "]", "\\s"},
        {WS, "\\s"},           {"\\r", "\r"},         {"\\n", "\n"},
        {INL_LATE_L, ""},      {INL_LATE_M, ""},      {INL_LATE_P INL_LATE_S, ""}};
    while (*pattern) {
        const char *next = NULL;
        for (size_t i = 0; i < INL_COUNT(shorter) && !next; i++)
            if ((next = past(pattern, shorter[i][0])) != NULL)
                out = stpcpy(out, shorter[i][1]);
        if (!next && (next = past(pattern, "\\x{")) != NULL) {
            char *end;
            out += inl_utf8_encode((uint32_t)strtoul(next, &end, 16) & 0x1fffff, out);
            next = *end ? end + 1 : end;
        }
        if (next)
            pattern = next;
        else
            *out++ = *pattern++;
    }
    *out = '\0';
}

static bool is_pattern(const char *ours, const char *given)
{
    char texts[2][INL_PRETOKENIZER_PATTERN];
    if (strcmp(ours, given) == 0)
        return true;
    if (strlen(ours) >= sizeof(texts[0]) || strlen(given) >= sizeof(texts[0]))
        return false;
    inl_pretokenizer_spell(ours, texts[0]);
    inl_pretokenizer_spell(given, texts[1]);
    return strcmp(texts[0], texts[1]) == 0;
}

static bool has_passes(const inl_pretokenizer_family *family, const char *const *patterns,
                       uint32_t count)
{
    uint32_t i = 0;
    for (; i < count && i < INL_PRETOKENIZER_PASSES && family->passes[i]; i++)
        if (!is_pattern(family->passes[i], patterns[i]))
            return false;
    return i == count && count > 0 && (i == INL_PRETOKENIZER_PASSES || !family->passes[i]);
}

const char *inl_pretokenizer_recognize(const char *const *patterns, uint32_t count,
                                       bool ignores_merges)
{
    const char *name = NULL;
    for (size_t i = 0; i < INL_COUNT(families); i++) {
        if (!has_passes(&families[i], patterns, count))
            continue;
        if (families[i].ignores_merges == ignores_merges)
            return families[i].names[0];
        name = name ? name : families[i].names[0];
    }
    return name;
}

const char *inl_pretokenizer_names(char known[INL_PRETOKENIZER_NAMES_ROOM])
{
    char *at = known, *end = known + INL_PRETOKENIZER_NAMES_ROOM;
    *known = '\0';
    for (size_t i = 0; i < INL_COUNT(families); i++)
        for (size_t j = 0; j < INL_PRETOKENIZER_NAMES && families[i].names[j]; j++)
            if (at < end)
                at += snprintf(at, (size_t)(end - at), "%s%s", at > known ? ", " : "",
                               families[i].names[j]);
    return known;
}

inlay_result inl_pretokenizer_fail_unknown(const inl_env *env, const char *file, const char *name)
{
    char known[INL_PRETOKENIZER_NAMES_ROOM];
    return inl_fail(env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the pre-tokenizer \"%s\" is unknown (known: %s)", file, name,
                    inl_pretokenizer_names(known));
}
