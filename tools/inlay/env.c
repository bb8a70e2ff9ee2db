// SPDX-License-Identifier: MIT
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static inlay_log_level shown_level = INLAY_LOG_INFO;
static void (*before_message)(void);

// One write a line, so lines of several threads do not mix.
static void say(const char *label, const char *message)
{
    if (before_message)
        before_message();
    fprintf(stderr, "inlay: %s%s\n", label, message);
}

static void say_formatted(const char *label, const char *fmt, va_list list)
{
    char message[2048];
    vsnprintf(message, sizeof(message), fmt, list);
    say(label, message);
}

void cli_error(const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    say_formatted("error: ", fmt, list);
    va_end(list);
}

void cli_warn(const char *fmt, ...)
{
    va_list list;
    va_start(list, fmt);
    say_formatted("warning: ", fmt, list);
    va_end(list);
}

void cli_note(const char *fmt, ...)
{
    if (shown_level < INLAY_LOG_INFO)
        return;
    va_list list;
    va_start(list, fmt);
    say_formatted("", fmt, list);
    va_end(list);
}

void cli_set_level(inlay_log_level level)
{
    shown_level = level;
}

inlay_log_level cli_get_level(void)
{
    return shown_level;
}

void cli_before_message(void (*hook)(void))
{
    before_message = hook;
}

static void log_message(void *user, inlay_log_level level, const char *message)
{
    static const char *const labels[] = {"", "error: ", "warning: ", "", "debug: "};
    (void)user;
    if (level > INLAY_LOG_NONE && level <= shown_level && level <= INLAY_LOG_DEBUG)
        say(labels[level], message);
}

const inlay_env *cli_env(void)
{
    static inlay_env env;
    env = (inlay_env){.log = log_message, .log_level = shown_level};
    return &env;
}

int cli_exit_input(inlay_result result)
{
    switch (result) {
    case INLAY_OK: return EXIT_OK;
    case INLAY_ERROR_INVALID_ARGUMENT:
    case INLAY_ERROR_UNSUPPORTED:
    case INLAY_ERROR_IO: // a folder, a file that may not be read
    case INLAY_ERROR_BAD_FILE:
    case INLAY_ERROR_NOT_FOUND:
    case INLAY_ERROR_MISMATCH:
    case INLAY_ERROR_NOT_FINITE: return EXIT_BAD_INPUT;
    default: return EXIT_FAILED;
    }
}

int cli_exit_output(inlay_result result)
{
    return result == INLAY_ERROR_IO ? EXIT_FAILED : cli_exit_input(result);
}

int cli_exit_run(inlay_result result)
{
    return result == INLAY_OK ? EXIT_OK : EXIT_FAILED;
}

int cli_finish_stdout(int code)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == 0) { // it failed earlier: once more, for the reason
        clearerr(stdout);
        putchar('\n');
        fflush(stdout);
    }
    cli_error("cannot write the results: %s", errno ? strerror(errno) : "output error");
    return code == EXIT_OK ? EXIT_FAILED : code;
}

static void *there(void *ptr)
{
    if (!ptr) {
        cli_error("out of memory");
        exit(EXIT_FAILED);
    }
    return ptr;
}

void *xalloc(size_t count, size_t size)
{
    return there(calloc(count ? count : 1, size));
}

void *xrealloc(void *ptr, size_t count, size_t size)
{
    return there(size && count > SIZE_MAX / size ? NULL : realloc(ptr, count * size + 1));
}

char *xstrdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(xalloc(size, 1), text, size);
}

char *xprintf(const char *fmt, ...)
{
    va_list list, again;
    va_start(list, fmt);
    va_copy(again, list);
    int size = vsnprintf(NULL, 0, fmt, list);
    char *text = xalloc((size_t)size + 1, 1);
    vsnprintf(text, (size_t)size + 1, fmt, again);
    va_end(again);
    va_end(list);
    return text;
}
