#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: check_install.sh BUILD_FOLDER
# Installs the build into a folder of its own, then builds and runs a program against what lies
# there, with pkg-config alone, first with the shared library, then with the static one.
set -euo pipefail
build=$1
program=$(cd "$(dirname "$0")" && pwd)/list_devices.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

meson install -C "$build" --no-rebuild --destdir "$work/stage" >"$work/log" || {
    cat "$work/log"
    exit 1
}
pc=$(find "$work/stage" -name inlay.pc)
lib=$(dirname "$(dirname "$pc")")
prefix=$work/stage$(sed -n 's/^prefix=//p' "$pc")
export PKG_CONFIG_PATH=$lib/pkgconfig

flags() { pkg-config --define-variable=prefix="$prefix" "$@" inlay; }
fail() { echo "$*"; exit 1; }
needs() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# build_and_run NAME FLAGS...
build_and_run() {
    local name=$1 status=0
    shift
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror "$program" -o "$work/$name" "$@"
    "$work/$name" || status=$?
    [ "$status" = 0 ] || exit "$status"
}

export LD_LIBRARY_PATH=$lib
build_and_run shared $(flags --cflags --libs)
needs "$work/shared" | grep -qx libinlay.so.1 || fail "the program does not need libinlay.so.1"
[ "$(needs "$work/shared" | grep -c jansson)" = 0 ] || fail "a private library became the user's"
readelf -d "$lib/libinlay.so" | grep -q 'SONAME.*\[libinlay\.so\.1\]' || fail "wrong soname"
[ "$(flags --modversion)" = "$(meson introspect "$build" --projectinfo |
    sed -n 's/.*"version": "\([0-9.]*\)".*/\1/p' | head -1)" ] || fail "wrong version"

unset LD_LIBRARY_PATH
rm "$lib"/libinlay.so*
build_and_run static $(flags --static --cflags --libs)
build_and_run with_volk -DWITH_VOLK $(flags --static --cflags --libs)
[ "$(needs "$work/static" | grep -c inlay)" = 0 ] || fail "the static program is not static"
echo "shared, static, static beside the host's own volk: built, linked and run"
