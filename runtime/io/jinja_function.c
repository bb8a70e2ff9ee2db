// SPDX-License-Identifier: MIT
// Functions a template finds: Jinja's range, dict and namespace, and the two of transformers'.
#include "io/jinja_run.h"

#include <stdio.h>
#include <string.h>

#define MAX_RANGE 100000 // as Jinja's sandbox has it

static const char *const names[] = {"range", "dict", "namespace", "raise_exception",
                                    "strftime_now"};

const char *inl_jinja_find_function(const jinja_string *name)
{
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (name->size == strlen(names[i]) && memcmp(name->data, names[i], name->size) == 0)
            return names[i];
    return NULL;
}

static jinja_value call_range(jinja_run *r, const jinja_args *args)
{
    int64_t n[3] = {0, 0, 1};
    for (size_t i = 0; i < args->count; i++)
        if (i > 2 || args->items[i].type != JINJA_INT)
            return inl_jinja_fail(r->state, "range needs one to three whole numbers");
    for (size_t i = 0; i < args->count; i++)
        n[args->count == 1 ? 1 : i] = args->items[i].as.integer;
    if (args->count == 0 || n[2] == 0)
        return inl_jinja_fail(r->state, "range needs one to three whole numbers");
    jinja_value out = inl_jinja_list(r->state);
    int64_t count = 0;
    for (int64_t i = n[0]; (n[2] > 0 ? i < n[1] : i > n[1]) && !r->state->failed;) {
        if (++count > MAX_RANGE)
            return inl_jinja_fail(r->state, "a range has more than %d numbers", MAX_RANGE);
        inl_jinja_push(r->state, out.as.list, jinja_int(i));
        if (__builtin_add_overflow(i, n[2], &i))
            break;
    }
    return out;
}

static jinja_value call_dict(jinja_run *r, const jinja_args *args)
{
    jinja_value out = inl_jinja_dict(r->state);
    const jinja_value *from = inl_jinja_arg(args, 0, NULL);
    if (from && from->type != JINJA_DICT)
        return inl_jinja_unsupported(r, "a dict is made of %s", inl_jinja_type_name(*from));
    for (size_t i = 0; from && i < from->as.dict->count && !r->state->failed; i++)
        inl_jinja_put(r->state, out.as.dict, from->as.dict->entries[i].key,
                      from->as.dict->entries[i].value);
    for (size_t i = 0; i < args->named_count && !r->state->failed; i++)
        inl_jinja_put(r->state, out.as.dict,
                      (jinja_value){.type = JINJA_STRING, .as.string = args->names[i]},
                      args->named[i]);
    if (from && !r->state->failed)
        out.as.dict->message = from->as.dict->message;
    return out;
}

static jinja_value call_raise(jinja_run *r, const jinja_args *args)
{
    char text[256] = "";
    if (args->count > 0 && args->items[0].type == JINJA_STRING) {
        const jinja_string *s = args->items[0].as.string;
        memcpy(text, s->data, INL_MIN(s->size, sizeof(text) - 1));
    }
    r->state->refused = !r->state->failed;
    return inl_jinja_fail(r->state, "%s", text);
}

// ---- dates

typedef struct date {
    int64_t year, month, day, weekday, year_day, hour, minute, second;
} date;

// Days since 1970 to a date of the Gregorian calendar, in years that begin in March.
static date date_of(int64_t now)
{
    int64_t days = now / 86400 - (now % 86400 < 0);
    int64_t rest = now - days * 86400;
    int64_t z = days + 719468; // since 0000-03-01
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day = z - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t in_year = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * in_year + 2) / 153;
    date d = {.day = in_year - (153 * month + 2) / 5 + 1,
              .month = month < 10 ? month + 3 : month - 9, .hour = rest / 3600,
              .minute = rest / 60 % 60, .second = rest % 60};
    d.year = year + era * 400 + (d.month <= 2);
    d.weekday = ((days + 4) % 7 + 7) % 7;
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    bool leap = d.year % 4 == 0 && (d.year % 100 != 0 || d.year % 400 == 0);
    d.year_day = before[d.month - 1] + d.day + (leap && d.month > 2);
    return d;
}

static bool put_date(jinja_buffer *out, const date *d, char kind, bool bare)
{
    static const char *const months[] = {"January", "February", "March", "April", "May", "June",
                                         "July", "August", "September", "October", "November",
                                         "December"};
    static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday",
                                       "Friday", "Saturday"};
    char text[24] = "";
    const char *two = bare ? "%lld" : "%02lld";
    switch (kind) {
    case 'Y': snprintf(text, sizeof(text), "%lld", (long long)d->year); break;
    case 'y': snprintf(text, sizeof(text), two, (long long)(d->year % 100)); break;
    case 'm': snprintf(text, sizeof(text), two, (long long)d->month); break;
    case 'd': snprintf(text, sizeof(text), two, (long long)d->day); break;
    case 'e': snprintf(text, sizeof(text), "%2lld", (long long)d->day); break;
    case 'H': snprintf(text, sizeof(text), two, (long long)d->hour); break;
    case 'I': snprintf(text, sizeof(text), two, (long long)((d->hour + 11) % 12 + 1)); break;
    case 'M': snprintf(text, sizeof(text), two, (long long)d->minute); break;
    case 'S': snprintf(text, sizeof(text), two, (long long)d->second); break;
    case 'j': snprintf(text, sizeof(text), bare ? "%lld" : "%03lld", (long long)d->year_day); break;
    case 'p': snprintf(text, sizeof(text), "%s", d->hour < 12 ? "AM" : "PM"); break;
    case 'B': snprintf(text, sizeof(text), "%s", months[d->month - 1]); break;
    case 'b':
    case 'h': snprintf(text, sizeof(text), "%.3s", months[d->month - 1]); break;
    case 'A': snprintf(text, sizeof(text), "%s", days[d->weekday]); break;
    case 'a': snprintf(text, sizeof(text), "%.3s", days[d->weekday]); break;
    case '%': snprintf(text, sizeof(text), "%%"); break;
    case 'F':
        return put_date(out, d, 'Y', bare) && (inl_jinja_append(out, "-", 1, 0), true) &&
               put_date(out, d, 'm', bare) && (inl_jinja_append(out, "-", 1, 0), true) &&
               put_date(out, d, 'd', bare);
    case 'T':
        return put_date(out, d, 'H', bare) && (inl_jinja_append(out, ":", 1, 0), true) &&
               put_date(out, d, 'M', bare) && (inl_jinja_append(out, ":", 1, 0), true) &&
               put_date(out, d, 'S', bare);
    default: return false;
    }
    inl_jinja_append(out, text, strlen(text), 0);
    return true;
}

static jinja_value call_strftime(jinja_run *r, const jinja_args *args)
{
    const jinja_value *format = inl_jinja_arg(args, 0, "format");
    if (!format || format->type != JINJA_STRING)
        return inl_jinja_fail(r->state, "strftime_now needs a format");
    date d = date_of(r->input->now);
    const jinja_string *s = format->as.string;
    jinja_buffer out = {.state = r->state};
    for (size_t at = 0; at < s->size && !r->state->failed; at++) {
        if (s->data[at] != '%') {
            inl_jinja_append(&out, s->data + at, 1, 0);
            continue;
        }
        bool bare = at + 1 < s->size && s->data[at + 1] == '-';
        at += 1 + bare;
        if (at >= s->size || !put_date(&out, &d, s->data[at], bare))
            return inl_jinja_unsupported(r, "a date's format is not supported: %%%c",
                                         at < s->size ? s->data[at] : ' ');
    }
    return inl_jinja_finish(&out);
}

jinja_value inl_jinja_call_function(jinja_run *r, const char *name, const jinja_args *args)
{
    if (strcmp(name, "range") == 0)
        return call_range(r, args);
    if (strcmp(name, "raise_exception") == 0)
        return call_raise(r, args);
    if (strcmp(name, "strftime_now") == 0)
        return call_strftime(r, args);
    jinja_value out = call_dict(r, args);
    if (!r->state->failed && strcmp(name, "namespace") == 0)
        out.type = JINJA_NAMESPACE;
    return out;
}
