// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "checkpoints.h"

#include "cli.h"
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "checkpoint-"
#define REMOVED ".removed" // follows a name that is being removed
#define TEMPORARY ".tmp-"  // follows a name that is being written; the process's id comes then

// Exactly as inlay writes the name: no sign, no leading zero.
static bool parse_name(const char *name, size_t size, uint32_t *step)
{
    size_t prefix = strlen(PREFIX);
    if (size <= prefix || size > prefix + 10 || strncmp(name, PREFIX, prefix) != 0)
        return false;
    uint64_t value = 0;
    for (size_t i = prefix; i < size; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(name[i] - '0');
    }
    if (value > UINT32_MAX || (name[prefix] == '0' && size > prefix + 1))
        return false;
    *step = (uint32_t)value;
    return true;
}

bool checkpoints_step(const char *path, uint32_t *step)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return parse_name(path + start, end - start, step);
}

char *checkpoints_path(const char *folder, uint32_t step)
{
    char name[32];
    snprintf(name, sizeof(name), PREFIX "%u", step);
    return path_join(folder, name);
}

// The library makes the folder appear whole; a copy that was cut short is seen by what it lacks.
static bool is_complete(const char *folder, uint32_t step)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    char *path = checkpoints_path(folder, step);
    bool complete = true;
    for (size_t i = 0; complete && i < COUNT(files); i++) {
        char *file = path_join(path, files[i]);
        complete = path_exists(file);
        free(file);
    }
    free(path);
    return complete;
}

static int compare_steps(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t *list_names(const char *folder, size_t *count)
{
    uint32_t *steps = NULL;
    *count = 0;
    DIR *entries = opendir(folder);
    if (!entries)
        return NULL;
    for (struct dirent *e = readdir(entries); e; e = readdir(entries)) {
        uint32_t step;
        if (!parse_name(e->d_name, strlen(e->d_name), &step))
            continue;
        steps = xrealloc(steps, *count + 1, sizeof(*steps));
        steps[(*count)++] = step;
    }
    closedir(entries);
    if (steps)
        qsort(steps, *count, sizeof(*steps), compare_steps);
    return steps;
}

bool checkpoints_any(const char *folder)
{
    size_t count;
    free(list_names(folder, &count));
    return count > 0;
}

uint32_t *checkpoints_list(const char *folder, size_t *count)
{
    size_t named;
    uint32_t *steps = list_names(folder, &named);
    *count = 0;
    for (size_t i = 0; i < named; i++)
        if (is_complete(folder, steps[i]))
            steps[(*count)++] = steps[i];
    if (*count == 0) {
        free(steps);
        return NULL;
    }
    return steps;
}

char *checkpoints_newest(const char *folder)
{
    size_t count;
    uint32_t *steps = checkpoints_list(folder, &count);
    char *path = count > 0 ? checkpoints_path(folder, steps[count - 1]) : NULL;
    free(steps);
    return path;
}

// Takes the name away first: a removal that is cut short leaves no half checkpoint under it.
static bool remove_one(const char *folder, uint32_t step)
{
    char *path = checkpoints_path(folder, step);
    char *away = xprintf("%s" REMOVED, path);
    bool done = rename(path, away) == 0;
    if (!done)
        cli_error("cannot remove %s: %s", path, strerror(errno));
    done = done && folder_remove(away);
    free(away);
    free(path);
    return done;
}

bool checkpoints_prune(const char *folder, uint32_t step, uint32_t limit)
{
    size_t count, past = 0;
    if (limit == 0)
        return true;
    uint32_t *steps = checkpoints_list(folder, &count);
    while (past < count && steps[past] <= step)
        past++;
    bool done = true;
    for (size_t i = 0; done && i + limit < past; i++)
        done = remove_one(folder, steps[i]);
    free(steps);
    return done;
}

bool checkpoints_remove_all(const char *folder)
{
    size_t count;
    uint32_t *steps = list_names(folder, &count);
    bool done = true;
    for (size_t i = 0; done && i < count; i++)
        done = remove_one(folder, steps[i]);
    free(steps);
    return done;
}

static bool is_gone(const char *process)
{
    char *end;
    long id = strtol(process, &end, 10);
    return id > 0 && !*end && id == (pid_t)id && kill((pid_t)id, 0) != 0 && errno == ESRCH;
}

void checkpoints_sweep(const char *folder)
{
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    for (struct dirent *e = readdir(entries); e; e = readdir(entries)) {
        uint32_t step;
        const char *end = strchr(e->d_name, '.');
        if (!end || !parse_name(e->d_name, (size_t)(end - e->d_name), &step))
            continue;
        size_t size = strlen(TEMPORARY);
        if (strcmp(end, REMOVED) != 0 &&
            (strncmp(end, TEMPORARY, size) != 0 || !is_gone(end + size)))
            continue;
        char *path = path_join(folder, e->d_name);
        (void)folder_remove(path);
        free(path);
    }
    closedir(entries);
}
