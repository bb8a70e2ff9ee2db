// SPDX-License-Identifier: MIT
#include "io/regex_ruby.h"

#include "io/regex.h"
#include "io/unicode_late.h"

#include <string.h>

#define MAX_GROUPS 64
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" INL_LATE_L INL_LATE_M INL_LATE_ND
// Outside brackets Oniguruma also takes Latin-1's superscripts and fractions.
#define WORD_ALONE WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
// Where a word begins or ends, and everywhere else; PCRE2's \b has its own idea of a word.
#define W1 "[" WORD_ALONE "]"
#define BOUNDARY "(?:(?<=" W1 ")(?!" W1 ")|(?<!" W1 ")(?=" W1 "))"
#define NO_BOUNDARY "(?:(?<=" W1 ")(?=" W1 ")|(?<!" W1 ")(?!" W1 "))"
#define MOST_NAME 32 // bytes of a property's name

typedef struct translation {
    const inl_env *env;
    const char *place;
    const char *in;
    size_t size, at;
    char *out;
    size_t used, cap;
    size_t atom;               // where in `out` what a quantifier would repeat begins
    size_t groups[MAX_GROUPS]; // where the open groups begin
    int depth;
} translation;

static inlay_result refuse(const translation *t, const char *what)
{
    return inl_fail(t->env, INLAY_ERROR_UNSUPPORTED,
                    "%s: the regular expression has %s at %zu, which is not supported", t->place,
                    what, t->at);
}

static inlay_result put(translation *t, const char *text, size_t size)
{
    INL_TRY(inl_grow(t->env, (void **)&t->out, &t->cap, t->used + size, 1));
    memcpy(t->out + t->used, text, size);
    t->used += size;
    return INLAY_OK;
}

static inlay_result put_text(translation *t, const char *text)
{
    return put(t, text, strlen(text));
}

static inlay_result insert(translation *t, size_t where, const char *text)
{
    size_t size = strlen(text);
    size_t moved = t->used - where;
    INL_TRY(put(t, text, size)); // makes room
    memmove(t->out + where + size, t->out + where, moved);
    memcpy(t->out + where, text, size);
    return INLAY_OK;
}

static char peek(const translation *t, size_t ahead)
{
    return ahead < t->size - t->at ? t->in[t->at + ahead] : '\0';
}

// A class escape that PCRE2 reads in another way, as the inside of a class; NULL: not one of those.
static const char *class_of(char letter, bool in_class)
{
    switch (letter) {
    case 's':
    case 'S': return INL_REGEX_SPACES;
    case 'w':
    case 'W': return in_class ? WORD : WORD_ALONE;
    case 'd':
    case 'D': return "\\p{Nd}" INL_LATE_ND;
    case 'h':
    case 'H': return "0-9a-fA-F";
    default: return NULL;
    }
}

// \uHHHH, which PCRE2 writes \x{HHHH}.
static inlay_result put_point(translation *t)
{
    for (size_t i = 2; i < 6; i++)
        if (!peek(t, i) || !strchr("0123456789abcdefABCDEF", peek(t, i)))
            return refuse(t, "a wrong \\u");
    INL_TRY(put_text(t, "\\x{"));
    INL_TRY(put(t, t->in + t->at + 2, 4));
    t->at += 6;
    return put_text(t, "}");
}

// ---- properties

typedef struct property {
    const char *name; // lower case, without spaces, hyphens and underscores
    const char *pcre; // as the inside of \p{}, or of a class where it begins with a backslash
} property;

static const property properties[] = {
    {"any", "Any"},
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"casedletter", "L&"},
    {"lc", "L&"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
    {"alphabetic", "Alphabetic"},
    {"uppercase", "Uppercase"},
    {"lowercase", "Lowercase"},
    {"whitespace", "White_Space"},
    {"emoji", "Emoji"},
    {"emojipresentation", "Emoji_Presentation"},
    {"emojimodifier", "Emoji_Modifier"},
    {"extendedpictographic", "Extended_Pictographic"},
    {"ideographic", "Ideographic"},
    // POSIX's names, in braces or between colons.
    {"alpha", "\\p{Alphabetic}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"blank", "\\x{9}\\p{Zs}"},
    {"cntrl", "\\p{Cc}"},
    {"digit", "\\p{Nd}"},
    {"lower", "\\p{Lowercase}"},
    {"punct", "P"},
    {"space", INL_REGEX_SPACES},
    {"upper", "\\p{Uppercase}"},
    {"word", WORD},
    {"xdigit", "0-9a-fA-F"},
};

// PCRE2 would take a script's name for its extensions too.
static const char *const scripts[] = {
    "arabic",   "armenian",   "bengali",  "bopomofo", "cherokee",  "common",    "coptic",
    "cyrillic", "devanagari", "ethiopic", "georgian", "gothic",    "greek",     "gujarati",
    "gurmukhi", "han",        "hangul",   "hebrew",   "hiragana",  "inherited", "kannada",
    "katakana", "khmer",      "lao",      "latin",    "malayalam", "mongolian", "myanmar",
    "ogham",    "oriya",      "runic",    "sinhala",  "syriac",    "tamil",     "telugu",
    "thaana",   "thai",       "tibetan",  "yi",
};

static const char *find_property(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(properties); i++)
        if (strcmp(properties[i].name, name) == 0)
            return properties[i].pcre;
    return NULL;
}

static bool is_script(const char *name)
{
    for (size_t i = 0; i < INL_COUNT(scripts); i++)
        if (strcmp(scripts[i], name) == 0)
            return true;
    return false;
}

static bool is_category(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= 2 && strchr("clmnpsz", name[0]) &&
           (length == 1 || strchr("cdefiklmnopstu", name[1]));
}

// The name up to `end`, as the tables have it; false: it is too long.
static bool read_name(translation *t, char end, char name[MOST_NAME])
{
    size_t used = 0;
    for (; peek(t, 0) && peek(t, 0) != end; t->at++) {
        char c = peek(t, 0);
        if (c == ' ' || c == '-' || c == '_')
            continue;
        if (used + 1 == MOST_NAME)
            return false;
        name[used++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    name[used] = '\0';
    return peek(t, 0) == end;
}

// What a general category has gained since PCRE2's Unicode, "": nothing.
static const char *late_of(const char *category)
{
    static const char *const late[][2] = {
        {"L", INL_LATE_L},   {"Lu", INL_LATE_LU}, {"Ll", INL_LATE_LL}, {"Lm", INL_LATE_LM},
        {"Lo", INL_LATE_LO}, {"M", INL_LATE_M},   {"Mn", INL_LATE_MN}, {"Mc", INL_LATE_MC},
        {"N", INL_LATE_N},   {"Nd", INL_LATE_ND}, {"No", INL_LATE_NO}, {"P", INL_LATE_P},
        {"S", INL_LATE_S},   {"So", INL_LATE_SO},
    };
    for (size_t i = 0; i < INL_COUNT(late); i++)
        if (strcmp(late[i][0], category) == 0)
            return late[i][1];
    return "";
}

// What `pcre` names, as a property or, of several ranges, as a class.
static inlay_result put_named(translation *t, const char *pcre, bool negated, bool in_class)
{
    bool ranges = pcre[0] == '\\' || pcre[0] == '0';
    const char *late = late_of(pcre);
    if (*late && !(negated && in_class)) {
        if (!in_class)
            INL_TRY(put_text(t, negated ? "[^\\p{" : "[\\p{"));
        else
            INL_TRY(put_text(t, "\\p{"));
        INL_TRY(put_text(t, pcre));
        INL_TRY(put_text(t, "}"));
        INL_TRY(put_text(t, late));
        return in_class ? INLAY_OK : put_text(t, "]");
    }
    if (!ranges) {
        INL_TRY(put_text(t, negated ? "\\P{" : "\\p{"));
        INL_TRY(put_text(t, pcre));
        return put_text(t, "}");
    }
    if (in_class && negated)
        return refuse(t, "a negated class inside a class");
    if (!in_class)
        INL_TRY(put_text(t, negated ? "[^" : "["));
    INL_TRY(put_text(t, pcre));
    return in_class ? INLAY_OK : put_text(t, "]");
}

// \p{name}, \p{^name} or \P{name}.
static inlay_result put_property(translation *t, bool in_class)
{
    char name[MOST_NAME], script[MOST_NAME + 4] = "sc:";
    bool negated = peek(t, 1) == 'P';
    if (peek(t, 2) != '{')
        return refuse(t, "a \\p without braces");
    t->at += 3;
    if (peek(t, 0) == '^') {
        negated = !negated;
        t->at++;
    }
    if (!read_name(t, '}', name))
        return refuse(t, "a property's name that does not end");
    const char *pcre = find_property(name);
    if (!pcre && is_category(name)) {
        name[0] = (char)(name[0] - 'a' + 'A');
        pcre = name;
    } else if (!pcre && is_script(name)) {
        strcat(script, name);
        pcre = script;
    }
    if (!pcre)
        return refuse(t, "an unknown property");
    t->at++;
    return put_named(t, pcre, negated, in_class);
}

// [:alpha:], between brackets; `at` is behind the first colon.
static inlay_result put_posix(translation *t)
{
    char name[MOST_NAME];
    bool negated = peek(t, 0) == '^';
    t->at += negated;
    if (!read_name(t, ':', name) || peek(t, 1) != ']' || !find_property(name))
        return refuse(t, "an unknown class name");
    t->at += 2;
    const char *pcre = strcmp(name, "punct") == 0 ? "\\p{P}\\p{S}" : find_property(name);
    return put_named(t, pcre, negated, true);
}

// ---- escapes

// \s and the like.
static inlay_result put_class_escape(translation *t, const char *class, bool negated, bool in_class)
{
    char letter = peek(t, 1);
    if (in_class && negated && letter != 'D' && letter != 'S')
        return refuse(t, "a negated class inside a class");
    t->at += 2;
    if (in_class && negated) // PCRE2's \S lacks one character that is no space
        return put_text(t, letter == 'D' ? "\\P{Nd}" : "\\S\\x{180e}");
    if (!in_class)
        INL_TRY(put_text(t, negated ? "[^" : "["));
    INL_TRY(put_text(t, class));
    return in_class ? INLAY_OK : put_text(t, "]");
}

// The escape at `at`. in_class: between brackets.
static inlay_result put_escape(translation *t, bool in_class)
{
    char letter = peek(t, 1);
    const char *class = class_of(letter, in_class);
    bool upper = letter >= 'A' && letter <= 'Z';
    if (letter == '\0')
        return refuse(t, "a backslash at its end");
    if (letter == 'u')
        return put_point(t);
    if (letter == 'p' || letter == 'P')
        return put_property(t, in_class);
    if (class)
        return put_class_escape(t, class, upper, in_class);
    if (letter == 'v') {
        t->at += 2;
        return put_text(t, "\\x{b}");
    }
    if (!in_class && (letter == 'b' || letter == 'B')) {
        t->at += 2;
        return put_text(t, upper ? NO_BOUNDARY : BOUNDARY);
    }
    bool letters = (letter >= 'a' && letter <= 'z') || upper;
    if (letters && !strchr(in_class ? "abefnrtx" : "aefnrtxzAZRX", letter))
        return refuse(t, "an escape");
    INL_TRY(put(t, t->in + t->at, 2));
    t->at += 2;
    return INLAY_OK;
}

// ---- classes

static inlay_result put_class(translation *t, bool nested);

// A && B: what is in both. `start` is where A's bracket stands in the output, closed by us.
static inlay_result put_intersection(translation *t, size_t start)
{
    t->at += 2;
    INL_TRY(insert(t, start, "(?:(?="));
    INL_TRY(put_text(t, "])"));
    if (peek(t, 0) != '[')
        return refuse(t, "an intersection with no class of its own");
    INL_TRY(put_class(t, true));
    if (peek(t, 0) != ']')
        return refuse(t, "a set operation");
    t->at++;
    return put_text(t, ")");
}

// A class that stands in another adds what it has to it. A hyphen at either end is one.
static inlay_result put_union(translation *t)
{
    t->at++;
    if (peek(t, 0) == '^' || peek(t, 0) == ']')
        return refuse(t, "a negated class inside a class");
    for (bool first = true; t->at < t->size; first = false) {
        char c = peek(t, 0);
        if (c == ']') {
            t->at++;
            return INLAY_OK;
        }
        if (c == '[' || (c == '&' && peek(t, 1) == '&'))
            return refuse(t, "a set operation in a class in a class");
        if (c == '-' && (first || peek(t, 1) == ']')) {
            INL_TRY(put_text(t, "\\-"));
            t->at++;
        } else if (c == '\\') {
            INL_TRY(put_escape(t, true));
        } else {
            INL_TRY(put(t, t->in + t->at++, 1));
        }
    }
    return refuse(t, "a class that does not end");
}

// The class at `at`, its bracket included.
static inlay_result put_class(translation *t, bool nested)
{
    size_t start = t->used;
    INL_TRY(put(t, t->in + t->at++, 1));
    bool negated = peek(t, 0) == '^';
    if (negated)
        INL_TRY(put(t, t->in + t->at++, 1));
    for (bool first = true; t->at < t->size; first = false) {
        char c = peek(t, 0);
        if (c == ']' && !first) {
            t->at++;
            return put_text(t, "]");
        }
        if (c == '&' && peek(t, 1) == '&')
            return nested || negated ? refuse(t, "a set operation") : put_intersection(t, start);
        if (c == '\\') {
            INL_TRY(put_escape(t, true));
        } else if (c == '[' && peek(t, 1) == ':') {
            t->at += 2;
            INL_TRY(put_posix(t));
        } else if (c == '[') {
            INL_TRY(put_union(t));
        } else if (c == '-' && peek(t, 1) == '[') {
            return refuse(t, "a hyphen before a class in a class");
        } else {
            INL_TRY(put(t, t->in + t->at++, 1));
        }
    }
    return refuse(t, "a class that does not end");
}

// (?<name> as (?:, for nothing can refer to it: \k is refused.
static inlay_result put_name(translation *t)
{
    for (t->at += 2; peek(t, 0) && peek(t, 0) != '>'; t->at++)
        if (strchr("()[]{}|\\", peek(t, 0)))
            break;
    if (peek(t, 0) != '>')
        return refuse(t, "a group's name that does not end");
    t->at++;
    return put_text(t, "?:");
}

// "(" with what tells its kind. In Ruby (?m lets the dot match a line's end, PCRE2's s.
static inlay_result put_group(translation *t)
{
    if (t->depth == MAX_GROUPS)
        return refuse(t, "groups nested too deeply");
    t->groups[t->depth++] = t->used;
    INL_TRY(put(t, t->in + t->at++, 1));
    if (peek(t, 0) != '?')
        return INLAY_OK;
    char kind = peek(t, 1);
    if (kind == '\0' || !strchr(":=!><#imx-", kind))
        return refuse(t, "a special group");
    if (kind == '<' && peek(t, 2) != '=' && peek(t, 2) != '!')
        return put_name(t);
    while (peek(t, 0) && strchr("?imx-", peek(t, 0))) {
        char letter = peek(t, 0) == 'm' ? 's' : peek(t, 0);
        INL_TRY(put(t, &letter, 1));
        t->at++;
    }
    return INLAY_OK;
}

// {n,m} or {,m}, after which a plus repeats it all: PCRE2 would read that as possessive.
static inlay_result put_braces(translation *t)
{
    size_t length = 1;
    while (peek(t, length) && strchr("0123456789,", peek(t, length)))
        length++;
    bool quantifier = length > 1 && peek(t, length) == '}';
    bool open = quantifier && peek(t, 1) == ',';
    if (open && length == 2)
        return refuse(t, "a quantifier without bounds");
    length += peek(t, length) == '}';
    INL_TRY(put_text(t, open ? "{0" : "{"));
    INL_TRY(put(t, t->in + t->at + 1, length - 1));
    t->at += length;
    if (quantifier && peek(t, 0) == '+') {
        INL_TRY(insert(t, t->atom, "(?:"));
        INL_TRY(put_text(t, ")"));
    }
    return INLAY_OK;
}

static inlay_result put_next(translation *t)
{
    char c = peek(t, 0);
    if (c == '{')
        return put_braces(t);
    if (c == ')') {
        if (t->depth > 0)
            t->atom = t->groups[--t->depth];
        return put(t, t->in + t->at++, 1);
    }
    if (c == '(')
        return put_group(t);
    if (c != '*' && c != '+' && c != '?' && (c & 0xc0) != 0x80)
        t->atom = t->used;
    if (c == '\\') {
        bool point = peek(t, 1) == 'x';
        INL_TRY(put_escape(t, false));
        if (point && peek(t, 0) == '{') // no quantifier
            while (t->at < t->size && t->in[t->at - 1] != '}')
                INL_TRY(put(t, t->in + t->at++, 1));
        return INLAY_OK;
    }
    if (c == '[')
        return put_class(t, false);
    return put(t, t->in + t->at++, 1);
}

inlay_result inl_regex_from_ruby(const inl_env *env, const char *place, inl_slice pattern,
                                 char **out, size_t *size)
{
    translation t = {.env = env, .place = place, .in = pattern.data, .size = pattern.size};
    inlay_result result = inl_grow(env, (void **)&t.out, &t.cap, pattern.size * 2 + 64, 1);
    if (result == INLAY_OK && memchr(pattern.data, '\0', pattern.size))
        result = refuse(&t, "a NUL");
    while (result == INLAY_OK && t.at < t.size)
        result = put_next(&t);
    if (result != INLAY_OK) {
        inl_free(env, t.out);
        return result;
    }
    *out = t.out;
    *size = t.used;
    return INLAY_OK;
}
