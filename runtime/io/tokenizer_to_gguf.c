// SPDX-License-Identifier: MIT
// A folder's tokenizer as a GGUF file's metadata. What it does to a text is asked by giving
// it one, not read from the file: there are many ways to write the same.
//
// A byte-level one goes by the name of its pre-tokenizer. A SentencePiece-style one has scores in
// place of merges, the highest for the token that is made first; that is the same only where every
// pair that makes a token is a merge, as in all files that were converted from SentencePiece.
#include "io/pretokenizer_names.h"
#include "io/tokenizer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name
#define SPACE "\xe2\x96\x81" // U+2581

typedef struct exporter {
    const inl_tokenizer *t;
    const char *file; // for messages
    uint32_t rows;    // of the embedding: as many tokens there must be
    inl_gguf_writer *writer;
    inl_slice *texts; // [rows]
    char *fillers;    // of ids without a token
    int32_t *kinds;   // [rows]
    float *scores;    // [rows], SentencePiece's
    inl_bpe_merge *merges; // by rank
    uint32_t merge_count;
} exporter;

static inlay_result refuse(const exporter *x, const char *why)
{
    return inl_fail(&x->t->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the tokenizer cannot be put into a GGUF file: %s; merge into a folder "
                    "instead",
                    x->file, why);
}

// ---- what it does to a text

typedef struct pieces {
    const inl_env *env;
    char *text;
    size_t size, cap;
    bool cut, cut_inside; // at all; elsewhere than in front of U+2581
} pieces;

static inlay_result add_piece(void *context, const char *piece, size_t size)
{
    pieces *p = context;
    if (p->size > 0) {
        p->cut = true;
        p->cut_inside |= size < 3 || memcmp(piece, SPACE, 3) != 0;
    }
    INL_TRY(inl_grow(p->env, (void **)&p->text, &p->cap, p->size + size, 1));
    memcpy(p->text + p->size, piece, size);
    p->size += size;
    return INLAY_OK;
}

// Normalized, and cut if `cuts`.
static inlay_result run(const exporter *x, const char *text, bool cuts, pieces *out)
{
    const inl_env *env = &x->t->env;
    inl_normal_text scratch = {0};
    inl_slice normal = {text, strlen(text)};
    inlay_result result = INLAY_OK;
    *out = (pieces){.env = env};
    if (x->t->normalizer)
        result = inl_normalizer_run(env, x->t->normalizer, normal, &scratch, &normal);
    bool any = result == INLAY_OK && normal.size > 0;
    if (any && cuts)
        result = inl_pretokenizer_split(env, x->t->bpe.pretokenizer, normal.data, normal.size, true,
                                        add_piece, out);
    else if (any)
        result = add_piece(out, normal.data, normal.size);
    inl_normal_text_free(env, &scratch);
    return result;
}

static bool is_text(const pieces *p, const char *text)
{
    return p->text && p->size == strlen(text) && memcmp(p->text, text, p->size) == 0;
}

// ---- byte-level

// llama.cpp has no normal forms, so one that changes letters with separate accents alone is let be.
static inlay_result check_plain(const exporter *x)
{
    static const char probe[] = "  A\xc3\xa9\xef\xac\x81\xc2\xbd \t\r\n{}b  ";
    pieces p;
    inlay_result result = run(x, probe, false, &p);
    if (result == INLAY_OK && !is_text(&p, probe))
        result = refuse(x, "its normalizer changes more than GGUF can say");
    inl_free(&x->t->env, p.text);
    return result;
}

static inlay_result refuse_pre(const exporter *x)
{
    char known[INL_PRETOKENIZER_NAMES_ROOM], why[INL_PRETOKENIZER_NAMES_ROOM + 80];
    snprintf(why, sizeof(why), "its pre_tokenizer is none that GGUF has a name for (known: %s)",
             inl_pretokenizer_names(known));
    return refuse(x, why);
}

static inlay_result put_pre(const exporter *x)
{
    const inl_bpe *bpe = &x->t->bpe;
    const char *name = inl_pretokenizer_name(bpe->pretokenizer, bpe->ignores_merges);
    INL_TRY(check_plain(x));
    if (!name)
        return refuse_pre(x);
    if (inl_pretokenizer_find(name)->ignores_merges != bpe->ignores_merges)
        inl_logf(&x->t->env, INLAY_LOG_WARN,
                 "%s: its ignore_merges is %s, but a GGUF file's pre-tokenizer \"%s\" %s: some "
                 "tokens will be others",
                 x->file, bpe->ignores_merges ? "true" : "false", name,
                 bpe->ignores_merges ? "goes by the merges" : "ignores them");
    INL_TRY(inl_gguf_writer_string(x->writer, KEY("model"), "gpt2"));
    return inl_gguf_writer_string(x->writer, KEY("pre"), name);
}

static inlay_result put_merges(const exporter *x)
{
    const inl_env *env = &x->t->env;
    const inl_vocab *v = &x->t->vocab;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < x->merge_count; i++)
        bytes += v->tokens[x->merges[i].id].text.size + 1;
    inl_slice *lines = inl_alloc(env, (size_t)x->merge_count + 1, sizeof(*lines));
    char *text = inl_alloc(env, bytes + 1, 1), *at = text;
    inlay_result result = lines && text ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; result == INLAY_OK && i < x->merge_count; i++) {
        inl_slice left = v->tokens[x->merges[i].left].text;
        inl_slice right = v->tokens[x->merges[i].right].text;
        lines[i] = (inl_slice){at, left.size + 1 + right.size};
        memcpy(at, left.data, left.size);
        at[left.size] = ' ';
        memcpy(at + left.size + 1, right.data, right.size);
        at += lines[i].size;
    }
    if (result == INLAY_OK)
        result = inl_gguf_writer_strings(x->writer, KEY("merges"), lines, x->merge_count);
    inl_free(env, lines);
    inl_free(env, text);
    return result;
}

// ---- SentencePiece

static bool has_inner_space(const exporter *x)
{
    for (uint32_t i = 0; i < x->merge_count; i++)
        if (inl_spm_has_inner_space(x->t->vocab.tokens[x->merges[i].id].text))
            return true;
    return false;
}

// Spaces become U+2581, perhaps one more in front: *prefix.
static inlay_result check_spaces(const exporter *x, bool *prefix)
{
    static const char probe[] = "A \xc3\xa9\xef\xac\x81  \xc2\xbd{b\t9\n";
    static const char want[] =
        SPACE "A" SPACE "\xc3\xa9\xef\xac\x81" SPACE SPACE "\xc2\xbd{b\t9\n";
    pieces p;
    inlay_result result = run(x, probe, true, &p);
    *prefix = is_text(&p, want);
    if (result == INLAY_OK && !*prefix && !is_text(&p, want + 3))
        result = refuse(x, "it does more to a text than to write spaces as U+2581");
    if (result == INLAY_OK && p.cut && (p.cut_inside || has_inner_space(x)))
        result = refuse(x, "its pre_tokenizer cuts where SentencePiece would not");
    inl_free(&x->t->env, p.text);
    return result;
}

static int by_pair(const void *one, const void *other)
{
    const inl_bpe_merge *x = one, *y = other;
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

// Whether each pair of tokens that makes a token is a merge. `sorted`: by pair.
static bool all_pairs_merge(const exporter *x, const inl_bpe_merge *sorted)
{
    const inl_vocab *v = &x->t->vocab;
    for (uint32_t id = 0; id < INL_MIN(v->count, x->rows); id++) {
        inl_slice text = v->tokens[id].text;
        if (v->tokens[id].kind != INL_TOKEN_NORMAL)
            continue;
        for (uint64_t cut = 1; cut < text.size; cut++) {
            inl_bpe_merge pair = {
                .left = inl_vocab_find_text(v, text.data, cut),
                .right = inl_vocab_find_text(v, text.data + cut, text.size - cut)};
            bool both = pair.left >= 0 && pair.right >= 0 &&
                        (uint32_t)INL_MAX(pair.left, pair.right) < x->rows;
            if (both && !bsearch(&pair, sorted, x->merge_count, sizeof(pair), by_pair))
                return false;
        }
    }
    return true;
}

// A token's is that of its first merge; the others come after all of these.
static void set_scores(exporter *x)
{
    for (uint32_t id = 0; id < x->rows; id++)
        x->scores[id] = -(float)x->merge_count;
    for (uint32_t i = x->merge_count; i > 0; i--)
        x->scores[x->merges[i - 1].id] = -(float)(i - 1);
}

static inlay_result check_merges(const exporter *x)
{
    const inl_env *env = &x->t->env;
    if (x->merge_count > 1u << 24) // f32 counts no further
        return refuse(x, "it has too many merges");
    inl_bpe_merge *sorted = inl_alloc(env, (size_t)x->merge_count + 1, sizeof(*sorted));
    if (!sorted)
        return INLAY_ERROR_OUT_OF_MEMORY;
    memcpy(sorted, x->merges, x->merge_count * sizeof(*sorted));
    qsort(sorted, x->merge_count, sizeof(*sorted), by_pair);
    inlay_result result =
        all_pairs_merge(x, sorted)
            ? INLAY_OK
            : refuse(x, "its merges leave out pairs that SentencePiece would merge");
    inl_free(env, sorted);
    return result;
}

static inlay_result put_scored(const exporter *x, bool prefix)
{
    INL_TRY(inl_gguf_writer_string(x->writer, KEY("model"), "llama"));
    INL_TRY(inl_gguf_writer_string(x->writer, KEY("pre"), "default"));
    INL_TRY(inl_gguf_writer_array(x->writer, KEY("scores"), INL_GGUF_F32, x->scores, x->rows));
    return inl_gguf_writer_bool(x->writer, KEY("add_space_prefix"), prefix);
}

static inlay_result put_sentencepiece(exporter *x)
{
    bool prefix = false;
    INL_TRY(check_spaces(x, &prefix));
    INL_TRY(check_merges(x));
    x->scores = inl_alloc(&x->t->env, x->rows, sizeof(*x->scores));
    if (!x->scores)
        return INLAY_ERROR_OUT_OF_MEMORY;
    set_scores(x);
    return put_scored(x, prefix);
}

// tokenizer.model's, which has its scores.
static inlay_result put_scores(exporter *x)
{
    const inl_tokenizer *t = x->t;
    if (t->normalizer)
        return refuse(x, "it takes spaces out of a text");
    if (t->spm.whole.count > 0)
        return refuse(x, "it has user-defined pieces");
    x->scores = inl_alloc(&t->env, x->rows, sizeof(*x->scores));
    if (!x->scores)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t id = 0; id < INL_MIN(x->rows, t->vocab.count); id++)
        x->scores[id] = t->vocab.tokens[id].score;
    return put_scored(x, t->space_prefix);
}

// ---- tokens

#define FILLER_ROOM 20

// As many as the embedding has rows: ids without a token get one that no text has.
static inlay_result list_tokens(exporter *x)
{
    const inl_env *env = &x->t->env;
    const inl_vocab *v = &x->t->vocab;
    x->texts = inl_alloc(env, x->rows, sizeof(*x->texts));
    x->kinds = inl_alloc(env, x->rows, sizeof(*x->kinds));
    x->fillers = inl_alloc(env, x->rows, FILLER_ROOM);
    if (!x->texts || !x->kinds || !x->fillers)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < x->rows; i++) {
        if (i < v->count && v->tokens[i].text.size > 0) {
            x->texts[i] = v->tokens[i].text;
            x->kinds[i] = v->tokens[i].kind;
            continue;
        }
        char *filler = x->fillers + (size_t)i * FILLER_ROOM;
        int size = snprintf(filler, FILLER_ROOM, "[PAD%u]", i);
        x->texts[i] = (inl_slice){filler, (uint64_t)size};
        x->kinds[i] = INL_TOKEN_UNUSED;
    }
    return INLAY_OK;
}

// Those whose tokens all have a row, by rank.
static inlay_result list_merges(exporter *x)
{
    uint32_t count;
    INL_TRY(inl_bpe_list_merges(&x->t->env, &x->t->bpe, &x->merges, &count));
    for (uint32_t i = 0; i < count; i++) {
        inl_bpe_merge m = x->merges[i];
        if ((uint32_t)INL_MAX(m.id, INL_MAX(m.left, m.right)) < x->rows)
            x->merges[x->merge_count++] = m;
    }
    return INLAY_OK;
}

static inlay_result put_id(const exporter *x, const char *key, int32_t id)
{
    bool there = id >= 0 && (uint32_t)id < x->rows;
    return there ? inl_gguf_writer_u32(x->writer, key, (uint32_t)id) : INLAY_OK;
}

// Of the tokens that end a text, GGUF has room for the end of text, of a turn and of a message.
static inlay_result put_ends(const exporter *x)
{
    const inl_tokenizer_info *info = &x->t->info;
    int32_t turn = -1, message = -1;
    for (uint32_t i = 0; i < info->end_count; i++) {
        int32_t id = info->ends[i];
        inl_slice text = x->t->vocab.tokens[id].text;
        bool is_message = text.size == 10 && memcmp(text.data, "<|eom_id|>", 10) == 0;
        if (is_message)
            message = id;
        else if (id != info->eos && turn < 0)
            turn = id;
    }
    INL_TRY(put_id(x, KEY("bos_token_id"), info->bos));
    INL_TRY(put_id(x, KEY("eos_token_id"), info->eos));
    INL_TRY(put_id(x, KEY("eot_token_id"), turn));
    INL_TRY(put_id(x, KEY("eom_token_id"), message));
    return put_id(x, KEY("unknown_token_id"), x->t->vocab.unknown);
}

static inlay_result put_templates(const exporter *x)
{
    const inl_tokenizer_info *info = &x->t->info;
    static const inl_slice names[] = {{.data = "tool_use", .size = 8}};
    if (info->chat_template)
        INL_TRY(inl_gguf_writer_string(x->writer, "tokenizer.chat_template", info->chat_template));
    if (!info->tool_template)
        return INLAY_OK;
    INL_TRY(inl_gguf_writer_strings(x->writer, "tokenizer.chat_templates", names, 1));
    return inl_gguf_writer_string(x->writer, "tokenizer.chat_template.tool_use",
                                  info->tool_template);
}

static inlay_result put_all(exporter *x)
{
    const inl_tokenizer *t = x->t;
    INL_TRY(list_tokens(x));
    if (!t->by_score)
        INL_TRY(list_merges(x));
    INL_TRY(t->by_score ? put_scores(x) : t->bpe.by_bytes ? put_pre(x) : put_sentencepiece(x));
    INL_TRY(inl_gguf_writer_strings(x->writer, KEY("tokens"), x->texts, x->rows));
    INL_TRY(inl_gguf_writer_array(x->writer, KEY("token_type"), INL_GGUF_I32, x->kinds, x->rows));
    if (t->bpe.by_bytes)
        INL_TRY(put_merges(x));
    INL_TRY(put_ends(x));
    INL_TRY(inl_gguf_writer_bool(x->writer, KEY("add_bos_token"), t->info.add_bos));
    INL_TRY(inl_gguf_writer_bool(x->writer, KEY("add_eos_token"), t->info.add_eos));
    return put_templates(x);
}

inlay_result inl_tokenizer_write_gguf(const inl_tokenizer *t, const char *file, uint32_t rows,
                                      inl_gguf_writer *writer)
{
    exporter x = {.t = t, .file = file, .rows = rows, .writer = writer};
    const inl_env *env = &t->env;
    inlay_result result = put_all(&x);
    inl_free(env, x.texts);
    inl_free(env, x.fillers);
    inl_free(env, x.kinds);
    inl_free(env, x.scores);
    inl_free(env, x.merges);
    return result;
}
