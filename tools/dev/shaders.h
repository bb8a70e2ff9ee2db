// SPDX-License-Identifier: MIT
// Kernels compiled from a folder of sources while a program runs, in the place of the embedded
// ones: edit, run, read the table. Needs a build with libshaderc; the library never does.
#ifndef DEV_SHADERS_H
#define DEV_SHADERS_H

#include "gpu/vk.h"

// From now on every pipeline that gpu makes is of `folder`'s source, with the defines of the
// kernel's row and the flags of the build. Compiled code is kept under the hash of its source in
// $XDG_CACHE_HOME/inlay/shaders (or ~/.cache), so that only what changed is compiled. A kernel that
// does not compile ends the program with file, line and error. NULL does nothing.
void dev_use_shaders(inl_gpu *gpu, const char *folder);
// Frees the code, says how much was compiled; no pipeline is made after.
void dev_free_shaders(inl_gpu *gpu);

#endif
