# SPDX-License-Identifier: MIT
# Sourced by the scripts in tools/: installs what is missing from the distribution, and builds.
# Needs a Debian-like system; on others it says what to install by hand.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${INLAY_BUILD:-$root/build}
venv=$root/.venv

build_packages="gcc pkg-config python3 meson ninja-build glslc spirv-tools libvulkan-dev
libvulkan-volk-dev libvulkan1 libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev libyaml-dev
libstb-dev libzstd-dev"
test_packages="git libcmocka-dev vulkan-validationlayers binutils g++ clang libclang-rt-dev
python3-venv libshaderc-dev chromium"

say() { printf '\033[1m==\033[0m %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# What of the given packages is neither installed nor provided by something installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            echo "$package"
    done
}

install_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian-like system; these packages' counterparts are needed: $*"
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    say "installing from the distribution:" $missing
    as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends \
        $missing >/dev/null
}

# A Vulkan driver: the machine's own, else the one that runs on the CPU.
install_driver() {
    ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 ||
        install_packages mesa-vulkan-drivers
}

# configure_and_build FOLDER OPTIONS...: quick when nothing changed, loud when something fails.
configure_and_build() {
    local folder=$1 log
    shift
    log=$(mktemp)
    if [ ! -f "$folder/build.ninja" ]; then
        say "configuring $folder"
        meson setup "$folder" "$root" "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
    fi
    say "building $folder"
    ninja -C "$folder" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
    rm -f "$log"
}

# make_venv REQUIREMENTS: a virtual environment with exactly these packages, the first of them
# installed before the others. One that is there and complete is used as it is. Else venv_problem
# says why not.
make_venv() {
    local requirements=$1 log first
    cmp -s "$requirements" "$venv/installed.txt" && "$venv/bin/python" -c '' && return 0
    log=$(mktemp)
    first=$(grep -m 1 '^[^#]' "$requirements")
    say "installing Python packages into $venv"
    if ! { rm -rf "$venv" && python3 -m venv "$venv"; } >"$log" 2>&1; then
        venv_problem="no virtual environment could be made: $(tail -n 1 "$log")"
    elif ! "$venv/bin/pip" install -q "$first" >"$log" 2>&1 ||
         ! "$venv/bin/pip" install -q -r "$requirements" >>"$log" 2>&1; then
        venv_problem="Python packages could not be installed: $(grep -m 1 ERROR "$log")"
    else
        cp "$requirements" "$venv/installed.txt"
        rm -f "$log"
        return 0
    fi
    cat "$log" >&2
    rm -f "$log"
    return 1
}
