#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the driver lab: current Mesa drivers and shader tools in a folder of their own, beside the
# system's. See tools/lab/README.md.
#
# usage: tools/lab/build.sh [--intel] [DIR]
#   DIR      default: $INLAY_LAB, or /var/cache/inlay-lab
#   --intel  also builds the shim for Intel's driver, which no package carries (a minute)
# Needs root, debootstrap and the network; exits 77 where one is missing. What is there stays: a
# second run does nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

suite=trixie
backports=$suite-backports
mesa_packages="mesa-vulkan-drivers mesa-drm-shim"
tool_packages="glslc glslang-tools spirv-tools vulkan-tools vulkan-validationlayers"
shim_packages="build-essential meson ninja-build bison flex python3-mako python3-yaml
python3-packaging libdrm-dev libexpat1-dev zlib1g-dev libelf-dev pkg-config dpkg-dev xz-utils"

cannot() {
    printf 'skipped: the driver lab cannot be built: %s\n' "$*" >&2
    exit 77
}

in_lab() { chroot "$lab" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

apt_update() { in_lab apt-get -o Acquire::Check-Valid-Until=false update -qq; }

apt_install() {
    in_lab apt-get -o Dpkg::Use-Pty=0 install -y -qq --no-install-recommends "$@" >/dev/null &&
        in_lab apt-get clean
}

# step NAME FUNCTION WHAT...: runs the function unless it has succeeded before with the same words.
step() {
    local name=$1 stamp=$lab/.lab/$1 function=$2
    shift 2
    [ "$(cat "$stamp" 2>/dev/null)" != "$*" ] || return 0
    [ "$(id -u)" = 0 ] || cannot "only root can install into $lab"
    printf '== %s\n' "$name" >&2
    "$function" "$@" || cannot "the step \"$name\" failed"
    printf '%s\n' "$*" >"$stamp"
}

bootstrap() {
    command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null ||
        cannot "debootstrap is not installed"
    rm -rf "$lab"
    mkdir -p "$lab/.lab" || return 1
    debootstrap --variant=minbase --include=ca-certificates "$1" "$lab" >"$log" || return 1
}

add_source() { # add_source deb|deb-src SUITE: from where the first one comes
    local mirror
    mirror=$(awk '$1 == "deb" {print $2; exit}' "$lab/etc/apt/sources.list")
    printf '%s %s %s main\n' "$1" "$mirror" "$2" >"$lab/etc/apt/sources.list.d/$1.list"
    apt_update
}

drivers() {
    add_source deb "$backports" && apt_install -t "$backports" "$@"
}

# One manifest a driver, with the whole path of its library.
manifests() {
    local manifest name library
    in_lab dpkg-query -W -f '${Package} ${Version}\n' mesa-vulkan-drivers >"$lab/.lab/version" ||
        return 1
    for manifest in "$lab"/usr/share/vulkan/icd.d/*.json; do
        name=$(basename "$manifest" .json)
        name=${name%.*}
        library=$(sed -n 's/.*"library_path": *"\([^"]*\)".*/\1/p' "$manifest")
        library=$(lab_libraries)/${library##*/}
        sed "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$library\"|" "$manifest" \
            >"$lab/.lab/${name%_icd}.json"
    done
}

# Mesa's own source package gives the shim; only that one library is built of it.
intel_shim() {
    add_source deb-src "$suite" && apt_install -t "$backports" "$@" || return 1
    in_lab sh -ec '
        rm -rf /root/mesa && mkdir -p /root/mesa && cd /root/mesa
        apt-get source --download-only -qq mesa >/dev/null
        tar xf mesa_*.orig.tar.xz --strip-components=1
        meson setup B -Dtools=drm-shim,intel -Dvulkan-drivers= -Dgallium-drivers=crocus \
            -Dplatforms= -Dglx=disabled -Degl=disabled -Dgbm=disabled -Dopengl=false \
            -Dllvm=disabled -Dzstd=disabled -Dvalgrind=disabled -Dlibunwind=disabled \
            -Dlmsensors=disabled -Dbuildtype=release
        ninja -C B src/intel/tools/libintel_noop_drm_shim.so' >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; return 1; }
    cp "$lab/root/mesa/B/src/intel/tools/libintel_noop_drm_shim.so" "$(lab_libraries)/"
    rm -rf "$lab/root/mesa"
}

intel=no
for word in "$@"; do
    case $word in
    --intel) intel=yes ;;
    -*) echo "usage: tools/lab/build.sh [--intel] [DIR]" >&2; exit 2 ;;
    *) lab=$word ;;
    esac
done
lab=$(realpath -m "$lab")
[ "$lab" != / ] || { echo "the lab needs a folder of its own" >&2; exit 2; }
[ ! -e "$lab" ] || [ -d "$lab/.lab" ] || [ -z "$(ls -A "$lab")" ] ||
    { echo "$lab holds something else than a lab: name another folder" >&2; exit 2; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step base bootstrap "$suite"
step drivers drivers $mesa_packages
step tools apt_install $tool_packages
step manifests manifests "$lab"
[ "$intel" = no ] || step intel intel_shim $shim_packages
printf '%s: %s\n' "$lab" "$(cat "$lab/.lab/version")"
