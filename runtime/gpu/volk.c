// SPDX-License-Identifier: MIT
// volk's function pointers, compiled once with hidden visibility so that a host's own volk is
// another.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#endif
#define VOLK_IMPLEMENTATION
#include <volk.h>
