// SPDX-License-Identifier: MIT
// A run's options from a YAML file: flat, one key an option, the command line goes before it.
#ifndef CONFIG_H
#define CONFIG_H

#include "args.h"

// Names that other trainers' files and Hugging Face's options have for ours.
extern const arg_alias config_aliases[];
extern const size_t config_alias_count;

// The strings the file's values became; they live until config_free.
typedef struct config {
    char **strings;
    size_t count;
} config;

// Sets every row that the command line did not give. False: one sentence with file and line.
bool config_apply(config *config, args *args, const char *path);
void config_free(config *config);

#endif
