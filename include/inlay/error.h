// SPDX-License-Identifier: MIT
// Result codes. Every function that can fail returns one; the sentence that says what happened goes
// to the log callback (log.h) at INLAY_LOG_ERROR, once, where the failure was found.
#ifndef INLAY_ERROR_H
#define INLAY_ERROR_H

#include <inlay/config.h>

INLAY_BEGIN

// X(name, value, meaning)
#define INLAY_RESULTS(X)                                                                           \
    X(INLAY_OK, 0, "success")                                                                      \
    X(INLAY_ERROR_INVALID_ARGUMENT, -1, "invalid argument")                                        \
    X(INLAY_ERROR_OUT_OF_MEMORY, -2, "out of host memory")                                         \
    X(INLAY_ERROR_OUT_OF_DEVICE_MEMORY, -3, "out of device memory")                                \
    X(INLAY_ERROR_NO_DEVICE, -4, "no usable Vulkan device")                                        \
    X(INLAY_ERROR_DEVICE_LOST, -5, "device lost")                                                  \
    X(INLAY_ERROR_UNSUPPORTED, -6, "not supported")                                                \
    X(INLAY_ERROR_IO, -7, "input or output error")                                                 \
    X(INLAY_ERROR_BAD_FILE, -8, "malformed file")                                                  \
    X(INLAY_ERROR_NOT_FOUND, -9, "not found")                                                      \
    X(INLAY_ERROR_MISMATCH, -10, "does not belong together")                                       \
    X(INLAY_ERROR_NOT_FINITE, -11, "NaN or infinity")                                              \
    X(INLAY_ERROR_INTERRUPTED, -12, "interrupted")                                                 \
    X(INLAY_ERROR_INTERNAL, -13, "internal error")

typedef enum inlay_result {
#define INLAY_RESULT_ENUM(name, value, meaning) name = value,
    INLAY_RESULTS(INLAY_RESULT_ENUM)
#undef INLAY_RESULT_ENUM
} inlay_result;

// The code's meaning in a few words, a static string; "unknown result" for a value not in the list.
INLAY_API const char *inlay_result_string(inlay_result result);

INLAY_END

#endif
