// SPDX-License-Identifier: MIT
// Tokens of a template. Blanks around tags go as Jinja's trim_blocks and lstrip_blocks have it,
// which is how transformers sets it up.
#include "io/jinja_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char at(const jinja_lexer *l, size_t offset)
{
    return l->at + offset < l->size ? l->text[l->at + offset] : '\0';
}

static void move(jinja_lexer *l, size_t count)
{
    for (; count > 0 && l->at < l->size; count--)
        l->line += l->text[l->at++] == '\n';
}

static bool starts_with(const jinja_lexer *l, const char *text)
{
    size_t size = strlen(text);
    return l->size - l->at >= size && memcmp(l->text + l->at, text, size) == 0;
}

// ---- text between tags

// Behind a tag's end: blanks go after a minus, else one line end after a block or a comment.
static void after_tag(jinja_lexer *l, bool minus, bool plus, bool trims)
{
    size_t before = l->at;
    l->strip_next = minus;
    if (minus)
        while (l->at < l->size && is_blank(l->text[l->at]))
            move(l, 1);
    else if (trims && !plus && at(l, 0) == '\n')
        move(l, 1);
    l->line_start = l->at > before && l->text[l->at - 1] == '\n';
}

static void skip_comment(jinja_lexer *l)
{
    uint32_t line = l->line;
    move(l, 2);
    while (l->at < l->size && !starts_with(l, "#}"))
        move(l, 1);
    if (l->at == l->size) {
        l->state->line = line;
        inl_jinja_fail(l->state, "the comment that starts here has no end");
        return;
    }
    char sign = l->text[l->at - 1];
    move(l, 2);
    after_tag(l, sign == '-', sign == '+', true);
}

// The text up to the next tag, without the blanks the tag takes away.
static jinja_string cut_text(const jinja_lexer *l, size_t end)
{
    jinja_string out = {.data = l->text + l->at, .size = end - l->at};
    char kind = end + 1 < l->size ? l->text[end + 1] : '\0';
    char sign = end + 2 < l->size ? l->text[end + 2] : '\0';
    if (end < l->size && sign == '-') {
        while (out.size > 0 && is_blank(out.data[out.size - 1]))
            out.size--;
    } else if (end < l->size && kind != '{' && sign != '+') { // the blanks before it on its line
        size_t size = out.size;
        while (size > 0 && (out.data[size - 1] == ' ' || out.data[size - 1] == '\t'))
            size--;
        if (size > 0 ? out.data[size - 1] == '\n' : l->line_start)
            out.size = size;
    }
    return out;
}

static size_t find_tag(const jinja_lexer *l)
{
    for (size_t i = l->at; i + 1 < l->size; i++)
        if (l->text[i] == '{' && strchr("{%#", l->text[i + 1]) && l->text[i + 1])
            return i;
    return l->size;
}

// The body of {% raw %}, which begins at `at`; the tag itself has been read.
static bool lex_raw(jinja_lexer *l, jinja_token *out)
{
    size_t start = l->at;
    for (size_t i = start; i + 1 < l->size; i++) {
        if (l->text[i] != '{' || l->text[i + 1] != '%')
            continue;
        jinja_lexer after = *l;
        jinja_string text = cut_text(l, i);
        move(&after, i + 2 - start);
        after.at += at(&after, 0) == '-' || at(&after, 0) == '+';
        while (is_blank(at(&after, 0)))
            move(&after, 1);
        if (!starts_with(&after, "endraw"))
            continue;
        move(&after, 6);
        while (is_blank(at(&after, 0)))
            move(&after, 1);
        char sign = at(&after, 0);
        after.at += sign == '-' || sign == '+';
        if (!starts_with(&after, "%}"))
            continue;
        move(&after, 2);
        *l = after;
        out->type = JINJA_T_TEXT;
        out->text = text;
        after_tag(l, sign == '-', sign == '+', true);
        return true;
    }
    inl_jinja_fail(l->state, "the raw block that starts here has no end");
    return false;
}

// Whether a {% raw %} stands here; then it is left behind.
static bool skip_raw_tag(jinja_lexer *l)
{
    jinja_lexer next = *l;
    if (!starts_with(l, "{%"))
        return false;
    move(&next, 2);
    next.at += at(&next, 0) == '-' || at(&next, 0) == '+';
    while (is_blank(at(&next, 0)))
        move(&next, 1);
    if (!starts_with(&next, "raw") || is_name(at(&next, 3), false))
        return false;
    move(&next, 3);
    while (is_blank(at(&next, 0)))
        move(&next, 1);
    char sign = at(&next, 0);
    next.at += sign == '-' || sign == '+';
    if (!starts_with(&next, "%}"))
        return false;
    move(&next, 2);
    *l = next;
    after_tag(l, sign == '-', sign == '+', true);
    return true;
}

static void lex_outside(jinja_lexer *l, jinja_token *out)
{
    while (!l->state->failed) {
        size_t tag = find_tag(l);
        if (tag > l->at) {
            out->type = JINJA_T_TEXT;
            out->text = cut_text(l, tag);
            bool ends = l->text[tag - 1] == '\n';
            move(l, tag - l->at);
            l->line_start = ends;
            if (out->text.size > 0)
                return;
            continue;
        }
        out->line = l->line;
        if (l->at == l->size) {
            out->type = JINJA_T_END;
            return;
        }
        if (l->text[l->at + 1] == '#') {
            skip_comment(l);
            continue;
        }
        if (skip_raw_tag(l)) {
            if (!lex_raw(l, out) || out->text.size > 0)
                return;
            continue;
        }
        l->in_block = l->text[l->at + 1] == '%';
        out->type = l->in_block ? JINJA_T_BLOCK : JINJA_T_VARIABLE;
        move(l, 2);
        if (at(l, 0) == '-' || at(l, 0) == '+')
            move(l, 1);
        l->in_tag = true;
        l->open = 0;
        return;
    }
    out->type = JINJA_T_END;
}

// ---- inside a tag

static bool lex_close(jinja_lexer *l, jinja_token *out)
{
    const char *end = l->in_block ? "%}" : "}}";
    char sign = at(l, 0);
    size_t skip = sign == '-' || (sign == '+' && l->in_block);
    if (l->open > 0 || at(l, skip) != end[0] || at(l, skip + 1) != end[1])
        return false;
    move(l, skip + 2);
    l->in_tag = false;
    out->type = JINJA_T_CLOSE;
    after_tag(l, skip && sign == '-', skip && sign == '+', l->in_block);
    return true;
}

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t tails = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t heads[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(heads[tails] | code >> (6 * tails));
    for (size_t i = 1; i <= tails; i++)
        out[i] = (char)(0x80 | (code >> (6 * (tails - i)) & 0x3f));
    return tails + 1;
}

// What an escape at `text` (after its backslash) stands for; returns the bytes read, 0: none.
static size_t escape(const char *text, size_t size, char *out, size_t *written)
{
    static const char from[] = "ntrabfv\\'\"";
    static const char to[] = "\n\t\r\a\b\f\v\\'\"";
    const char *simple = size > 0 && text[0] ? strchr(from, text[0]) : NULL;
    if (simple) {
        *out = to[simple - from];
        *written = 1;
        return 1;
    }
    if (size > 0 && text[0] == '\n') { // a line that goes on
        *written = 0;
        return 1;
    }
    if (size > 0 && text[0] >= '0' && text[0] <= '7') {
        uint32_t code = 0;
        size_t read = 0;
        for (; read < 3 && read < size && text[read] >= '0' && text[read] <= '7'; read++)
            code = code * 8 + (uint32_t)(text[read] - '0');
        *written = put_utf8(out, code);
        return read;
    }
    char kind = size > 0 ? text[0] : '\0';
    size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    uint32_t code = 0;
    if (digits == 0 || size < digits + 1)
        return 0;
    for (size_t i = 1; i <= digits; i++) {
        int digit = hex(text[i]);
        if (digit < 0 || code > 0x10ffff)
            return 0;
        code = code * 16 + (uint32_t)digit;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    *written = put_utf8(out, code);
    return digits + 1;
}

static void lex_string(jinja_lexer *l, jinja_token *out)
{
    char quote = l->text[l->at];
    size_t end = l->at + 1;
    while (end < l->size && l->text[end] != quote)
        end += l->text[end] == '\\' ? 2 : 1;
    if (end >= l->size) {
        inl_jinja_fail(l->state, "a string has no end");
        return;
    }
    size_t size = end - l->at - 1;
    const char *text = l->text + l->at + 1;
    char *data = inl_jinja_alloc(l->state, size + 4, 1); // no escape is shorter than its value
    if (!data)
        return;
    size_t written = 0;
    for (size_t i = 0; i < size;) {
        size_t more = 0;
        size_t read = 0;
        if (text[i] == '\\')
            read = escape(text + i + 1, size - i - 1, data + written, &more);
        if (read > 0) {
            i += read + 1;
            written += more;
        } else {
            data[written++] = text[i++];
        }
    }
    out->type = JINJA_T_STRING;
    out->text = (jinja_string){.data = data, .size = written};
    move(l, size + 2);
}

static void lex_number(jinja_lexer *l, jinja_token *out)
{
    char digits[64];
    size_t count = 0;
    bool real = false;
    size_t i = 0;
    for (; count + 1 < sizeof(digits); i++) {
        char c = at(l, i);
        char next = at(l, i + 1);
        bool dot = c == '.' && !real && is_digit(next);
        bool power = (c == 'e' || c == 'E') && (is_digit(next) ||
                     ((next == '-' || next == '+') && is_digit(at(l, i + 2))));
        bool sign = (c == '-' || c == '+') && count > 0 && (digits[count - 1] | 0x20) == 'e';
        if (!is_digit(c) && c != '_' && !dot && !power && !sign)
            break;
        real = real || dot || power;
        if (c != '_')
            digits[count++] = c;
    }
    digits[count] = '\0';
    errno = 0;
    out->type = real ? JINJA_T_FLOAT : JINJA_T_INT;
    if (real)
        out->real = strtod(digits, NULL);
    else
        out->integer = strtoll(digits, NULL, 10);
    if ((!real && errno == ERANGE) || is_digit(at(l, i)))
        inl_jinja_fail(l->state, "a number is too large");
    move(l, i);
}

static void lex_operator(jinja_lexer *l, jinja_token *out)
{
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "//", "**"};
    size_t size = 1;
    for (size_t i = 0; i < INL_COUNT(pairs); i++)
        if (starts_with(l, pairs[i]))
            size = 2;
    char c = l->text[l->at];
    if (!strchr("+-*/%~()[]{}<>=!.,:|", c) || (c == '!' && size == 1)) {
        inl_jinja_fail(l->state, "an unexpected character, '%c'", c);
        return;
    }
    if (strchr("([{", c))
        l->open++;
    else if (strchr(")]}", c) && l->open > 0)
        l->open--;
    out->type = JINJA_T_OPERATOR;
    out->text = (jinja_string){.data = l->text + l->at, .size = size};
    move(l, size);
}

void inl_jinja_lex(jinja_lexer *l, jinja_token *out)
{
    *out = (jinja_token){.type = JINJA_T_END, .line = l->line};
    l->state->line = l->line;
    if (l->state->failed)
        return;
    if (!l->in_tag) {
        lex_outside(l, out);
        return;
    }
    while (l->at < l->size && is_blank(l->text[l->at]))
        move(l, 1);
    out->line = l->state->line = l->line;
    if (l->at == l->size) {
        inl_jinja_fail(l->state, "a tag has no end");
        return;
    }
    if (lex_close(l, out))
        return;
    char c = l->text[l->at];
    if (c == '"' || c == '\'') {
        lex_string(l, out);
    } else if (is_digit(c)) {
        lex_number(l, out);
    } else if (is_name(c, true)) {
        size_t size = 1;
        while (is_name(at(l, size), false))
            size++;
        out->type = JINJA_T_NAME;
        out->text = (jinja_string){.data = l->text + l->at, .size = size};
        move(l, size);
    } else {
        lex_operator(l, out);
    }
}
