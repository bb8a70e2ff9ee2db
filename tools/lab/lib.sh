# SPDX-License-Identifier: MIT
# Sourced by the scripts in this folder: where the lab is.

lab=${INLAY_LAB:-/var/cache/inlay-lab}

# The folder of the lab's libraries; it is named after the machine's architecture.
lab_libraries() { dirname "$(lab_loader)"; }

lab_loader() {
    local loader
    for loader in "$lab"/usr/lib/*/ld-linux*.so.*; do
        [ -e "$loader" ] && echo "$loader" && return
    done
    return 1
}
