#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares inlay with llama.cpp: it loads the adapters inlay writes and continues as inlay does, and
# inlay reads what it quantizes and what its converters write.
# usage: tests/llama_cpp/run.sh [unittest's arguments]; INLAY_BUILD names the build folder.
#
# llama.cpp is built from llama-cpp-python's source package at the first run, its library alone, for
# the CPU: about two minutes on two cores; its converters lie there too. Exit 77: that could not be
# done.
set -uo pipefail
. "$(dirname "$0")/../../tools/lib/setup.sh"
here=$root/tests/llama_cpp
export INLAY_BUILD=$build
package=llama-cpp-python==0.3.36
sources=$venv/llama.cpp
export LLAMA_CPP_SOURCE=$sources

# The source package, and out of it the converters, which no built package has.
fetch_sources() {
    local log folder problem
    log=$(mktemp)
    folder=$(mktemp -d)
    say "fetching $package"
    "$venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python -d "$folder" "$package" \
        >"$log" 2>&1 &&
        mkdir -p "$sources" &&
        tar -xzf "$folder"/llama_cpp_python-*.tar.gz -C "$sources" --strip-components=3 \
            --wildcards '*/vendor/llama.cpp/convert_*_to_gguf.py' '*/vendor/llama.cpp/conversion' \
            '*/vendor/llama.cpp/gguf-py' >>"$log" 2>&1 &&
        mv "$folder"/llama_cpp_python-*.tar.gz "$sources/package.tar.gz" ||
        problem=$(tail -n 1 "$log")
    rm -rf "$log" "$folder"
    [ -z "${problem+x}" ] || { echo "skipped: no source of llama.cpp: $problem"; return 1; }
}

build_llama_cpp() {
    local off option flags log
    log=$(mktemp)
    install_packages cmake g++ >"$log" 2>&1
    flags="-DCMAKE_PROJECT_llama.cpp_INCLUDE=$here/library_alone.cmake"
    flags+=" -DCMAKE_C_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS_RELEASE=-O1"
    off="LLAVA_BUILD LLAMA_BUILD_TOOLS LLAMA_BUILD_EXAMPLES LLAMA_BUILD_TESTS LLAMA_BUILD_SERVER
    LLAMA_OPENSSL GGML_NATIVE GGML_OPENMP GGML_LLAMAFILE GGML_CPU_REPACK GGML_SSE42 GGML_AVX
    GGML_AVX2 GGML_BMI2 GGML_FMA GGML_F16C"
    for option in $off; do flags+=" -D$option=OFF"; done
    say "building llama.cpp from source"
    if CMAKE_ARGS=$flags CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$venv/bin/pip" install -q \
        --no-binary llama-cpp-python -C "build.targets=llama;ggml;ggml-base;ggml-cpu" \
        "$sources/package.tar.gz" >>"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    echo "skipped: llama.cpp could not be built: $(grep -m 1 -i error "$log")"
    rm -f "$log"
    return 1
}

make_venv "$root/tests/parity/requirements.txt" || { echo "skipped: $venv_problem"; exit 77; }
[ -f "$sources/package.tar.gz" ] || fetch_sources || exit 77
"$venv/bin/python" -c 'import llama_cpp' 2>/dev/null || build_llama_cpp || exit 77
status=77
for test in "$here"/test_*.py; do
    "$venv/bin/python" "$test" "$@" </dev/null
    case $? in
    0) [ $status = 77 ] && status=0 ;;
    77) ;;
    *) status=1 ;;
    esac
done
exit $status
