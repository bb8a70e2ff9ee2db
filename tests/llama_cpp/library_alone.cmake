# SPDX-License-Identifier: MIT
# Read by llama.cpp's own build, after its project(): llama-cpp-python insists on the common library,
# which nothing here uses and which takes a third of the time.
set(LLAMA_BUILD_COMMON OFF)
