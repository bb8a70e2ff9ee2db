// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "args.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static char plain(char c)
{
    return c == '_' ? '-' : c;
}

static bool same_name(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) {
        a++;
        b++;
    }
    return plain(*a) == plain(*b);
}

int args_find(const args *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (same_name(a->table[i].name, name))
            return (int)i;
    return -1;
}

const arg_alias *args_find_alias(const args *a, const char *name)
{
    for (size_t i = 0; i < a->alias_count; i++)
        if (same_name(a->aliases[i].alias, name))
            return &a->aliases[i];
    return NULL;
}

bool args_is_set(const args *a, const char *name)
{
    int row = args_find(a, name);
    return row >= 0 && a->set[row];
}

// ---- nearest names

#define LONGEST_NAME 63

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

// Insertions, deletions, replacements and swaps of neighbours that make `a` into `b`.
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST_NAME + 1];
    size_t m = strnlen(a, LONGEST_NAME), n = strnlen(b, LONGEST_NAME);
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            char x = plain(a[i - 1]), y = plain(b[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == plain(b[j - 2]) && plain(a[i - 2]) == y &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return rows[m % 3][n];
}

static void consider(const char *word, const char *candidate, const char **best, size_t *least)
{
    size_t d = distance(word, candidate);
    if (d < *least) {
        *least = d;
        *best = candidate;
    }
}

// Further than this is no likeness.
static size_t distance_limit(const char *word)
{
    size_t size = strnlen(word, LONGEST_NAME);
    return size / 3 + 2;
}

const char *args_nearest_word(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t least = distance_limit(word);
    for (size_t i = 0; i < count; i++)
        consider(word, words[i], &best, &least);
    return best;
}

const char *args_nearest(const args *a, const char *name)
{
    const char *best = NULL;
    size_t least = distance_limit(name);
    for (size_t i = 0; i < a->count; i++)
        consider(name, a->table[i].name, &best, &least);
    for (size_t i = 0; i < a->alias_count; i++)
        consider(name, a->aliases[i].alias, &best, &least);
    return best;
}

// ---- values

bool args_is_yes_no(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "on", "On"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "off", "Off"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *value = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_uint(const char *text, const arg *row, uint32_t *out)
{
    uint64_t value = 0;
    if (!*text)
        return false;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || value > UINT32_MAX)
            return false;
        value = value * 10 + (uint64_t)(*c - '0');
    }
    if (value > UINT32_MAX || (double)value < row->min || (double)value > row->max)
        return false;
    *out = (uint32_t)value;
    return true;
}

// The library takes most of them as floats: a bound is kept in that precision, or a tiny rate
// would become 0, which there means the default.
static bool parse_real(const char *text, const arg *row, double *out)
{
    if (!*text || text[strspn(text, "0123456789+-.eE")] != '\0')
        return false;
    char *end;
    double value = strtod(text, &end);
    if (*end || !isfinite(value) || value < row->min || value > row->max ||
        (row->above && (float)value <= (float)row->min) ||
        (row->below && (float)value >= (float)row->max))
        return false;
    *out = value;
    return true;
}

static bool parse_choice(const char *text, const arg *row, int *out)
{
    for (int i = 0; row->choices[i]; i++) {
        if (same_name(row->choices[i], text)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool bad_number(const arg *row, const char *text, const char *shown)
{
    const char *kind = row->type == ARG_UINT ? "whole number" : "number";
    const char *from = row->above ? "above" : "from";
    const char *to = row->below ? "and below" : row->above ? "and at most" : "to";
    if (row->above && row->max >= 1e30)
        cli_error("%s must be a %s above %g, not \"%s\"", shown, kind, row->min, text);
    else if (row->max >= UINT32_MAX)
        cli_error("%s must be a %s of at least %.10g, not \"%s\"", shown, kind, row->min, text);
    else
        cli_error("%s must be a %s %s %.10g %s %.10g, not \"%s\"", shown, kind, from, row->min, to,
                  row->max, text);
    return false;
}

static bool bad_choice(const arg *row, const char *text, const char *shown)
{
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; row->choices[i] && used < sizeof(list); i++) {
        const char *join = i == 0 ? "" : row->choices[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", join, row->choices[i]);
    }
    cli_error("%s must be %s, not \"%s\"", shown, list, text);
    return false;
}

bool args_set(args *a, int index, const char *text, const char *shown)
{
    const arg *row = &a->table[index];
    void *out = (char *)a->options + row->offset;
    switch (row->type) {
    case ARG_FLAG:
        if (!args_is_yes_no(text, out)) {
            cli_error("%s must be true or false, not \"%s\"", shown, text);
            return false;
        }
        break;
    case ARG_STRING:
        if (!*text) {
            cli_error("%s is empty", shown);
            return false;
        }
        *(const char **)out = text;
        break;
    case ARG_TEXT: *(const char **)out = text; break;
    case ARG_UINT:
        if (!parse_uint(text, row, out))
            return bad_number(row, text, shown);
        break;
    case ARG_REAL:
        if (!parse_real(text, row, out))
            return bad_number(row, text, shown);
        break;
    case ARG_CHOICE:
        if (!parse_choice(text, row, out))
            return bad_choice(row, text, shown);
        break;
    case ARG_CUSTOM:
        if (!row->parse(text, out)) {
            cli_error("%s must be %s, not \"%s\"", shown, row->expected, text);
            return false;
        }
        break;
    }
    a->set[index] = true;
    return true;
}

// ---- the command line

// Copies the name out of "--name=value"; the value, or NULL without "=".
static const char *split_name(const char *text, char *name, size_t room)
{
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    if (size > room - 1)
        size = room - 1;
    memcpy(name, text, size);
    name[size] = '\0';
    return equals ? equals + 1 : NULL;
}

static int find_long(const args *a, const char *name)
{
    int row = args_find(a, name);
    if (row >= 0)
        return row;
    const arg_alias *alias = args_find_alias(a, name);
    if (alias && !alias->yes_no)
        return args_find(a, alias->name);
    // A configuration file's yes-or-no names are no options, but may be the nearest one.
    const char *near = alias ? alias->name : args_nearest(a, name);
    if (near && args_find(a, near) < 0) {
        const arg_alias *target = args_find_alias(a, near);
        near = target ? target->name : near;
    }
    if (near)
        cli_error("unknown option --%s; did you mean --%s?", name, near);
    else
        cli_error("unknown option --%s; --help lists them", name);
    return -1;
}

static int find_letter(const args *a, char letter)
{
    for (size_t i = 0; i < a->count; i++)
        if (letter && a->table[i].letter == letter)
            return (int)i;
    cli_error("unknown option -%c; --help lists them", letter);
    return -1;
}

// One option at argv[*at]; *at moves on past its value.
static bool take_option(args *a, int argc, char **argv, int *at)
{
    const char *text = argv[*at];
    char name[96];
    const char *value = NULL;
    int row;
    if (text[1] == '-') {
        value = split_name(text + 2, name, sizeof(name));
        row = find_long(a, name);
    } else {
        value = text[2] ? text + 2 : NULL;
        row = find_letter(a, text[1]);
    }
    if (row < 0)
        return false;
    char shown[104];
    snprintf(shown, sizeof(shown), "--%s", a->table[row].name);
    if (a->table[row].type == ARG_FLAG) {
        if (value) {
            cli_error("%s takes no value", shown);
            return false;
        }
        value = "true";
    } else if (!value) {
        if (*at + 1 >= argc) {
            cli_error("%s needs a value", shown);
            return false;
        }
        value = argv[++*at];
    }
    a->given[row] = true;
    return args_set(a, row, value, shown);
}

static bool take_rest(args *a, const char *text)
{
    if (!a->rest_name) {
        cli_error("unexpected argument \"%s\"", text);
        return false;
    }
    if (a->rest) {
        cli_error("one %s is enough, \"%s\" is a second one", a->rest_name, text);
        return false;
    }
    a->rest = text;
    return true;
}

args_outcome args_parse(args *a, int argc, char **argv)
{
    bool options = true;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        if (options && strcmp(text, "--") == 0) {
            options = false;
        } else if (options && (strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0)) {
            return ARGS_HELP;
        } else if (options && text[0] == '-' && text[1]) {
            if (!take_option(a, argc, argv, &i))
                return ARGS_BAD;
        } else if (!take_rest(a, text)) {
            return ARGS_BAD;
        }
    }
    return ARGS_DONE;
}

// ---- help

static void print_row(const arg *row)
{
    char left[96];
    char choices[80] = "";
    size_t used = 0;
    for (int i = 0; row->choices && row->choices[i] && used < sizeof(choices); i++)
        used += (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%s", i ? "|" : "",
                                 row->choices[i]);
    const char *value = row->choices ? choices : row->value ? row->value : "";
    char letter[8] = "    ";
    if (row->letter)
        snprintf(letter, sizeof(letter), "-%c, ", row->letter);
    snprintf(left, sizeof(left), "  %s--%s%s%s", letter, row->name, *value ? " " : "", value);
    if (strlen(left) > 40)
        printf("%s\n%-42s%s\n", left, "", row->help);
    else
        printf("%-42s%s\n", left, row->help);
}

void args_print_help(const args *a)
{
    for (size_t i = 0; i < a->count; i++) {
        if (i == 0 || a->table[i].heading)
            printf("\n%s\n", a->table[i].heading ? a->table[i].heading : "Options");
        print_row(&a->table[i]);
    }
    printf("  -h, --help\n");
}
