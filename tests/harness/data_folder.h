// SPDX-License-Identifier: MIT
// The folder of real data that INLAY_TEST_DATA names; the test that asks is skipped, and says so,
// where it is not set. Include after cmocka.h. Header only.
#ifndef HARNESS_DATA_FOLDER_H
#define HARNESS_DATA_FOLDER_H

#include <stdlib.h>

static inline const char *data_folder(void)
{
    const char *folder = getenv("INLAY_TEST_DATA");
    if (!folder) {
        print_message("skipped: INLAY_TEST_DATA is not set\n");
        skip();
    }
    return folder;
}

#endif
