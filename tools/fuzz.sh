#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: tools/fuzz.sh [SECONDS [TARGET...]]
# Runs each fuzz target for so long (60), as many at a time as there are processors. A crash, leak,
# hang or too much memory fails, and what caused it is put into tests/fuzz/regressions/TARGET, which
# the normal tests replay for ever after. What was learnt stays in build-fuzz/corpus for the next
# run.
set -euo pipefail
. "$(dirname "$0")/lib/setup.sh"

folder=$root/build-fuzz
seconds=${1:-60}
shift $(($# > 0))
install_packages $build_packages $test_packages
CC=clang configure_and_build "$folder" -Dfuzz=true -Dbuildtype=debugoptimized

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for program in "$folder"/tests/fuzz/fuzz_*; do
        [ -d "$program" ] || targets+=("${program##*/fuzz_}")
    done
fi

# A machine that stood still looks like a hang; what ends in time when it is run alone is forgotten.
forget_stalls() {
    local file
    for file in "$2"/timeout-*; do
        [ -e "$file" ] && "$folder/tests/fuzz/fuzz_$1" -timeout=10 "$file" >/dev/null 2>&1 &&
            rm "$file"
    done
    [ -z "$(ls -A "$2")" ]
}

# search NAME FOUND LOG: one run of the fuzzer; what it finds goes to the folder FOUND.
search() {
    "$folder/tests/fuzz/fuzz_$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=32768 -report_slow_units=1000000 -print_final_stats=1 -artifact_prefix="$2/" \
        "$folder/corpus/$1" $(ls -d "$root/tests/fuzz/regressions/$1" 2>/dev/null) >"$3" 2>&1
}

# fuzz NAME: exit 0 and one line, or what the fuzzer said last.
fuzz() {
    local name=$1 log=$folder/$1.log corpus=$folder/corpus/$1 kept=$root/tests/fuzz/regressions/$1
    local found
    found=$(mktemp -d)
    mkdir -p "$corpus"
    "$folder/tests/fuzz/replay_$name" --seeds "$corpus" >"$log" 2>&1 || { cat "$log"; return 1; }
    if search "$name" "$found" "$log" ||
        { forget_stalls "$name" "$found" && search "$name" "$found" "$log"; }; then
        rm -r "$found"
        printf '%-12s %s inputs, %s in the corpus\n' "$name" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(ls "$corpus" | wc -l)"
        return 0
    fi
    mkdir -p "$kept"
    printf '%s: failed, see %s; kept in %s: %s\n' "$name" "$log" "${kept#"$root"/}" "$(ls "$found")"
    mv "$found"/* "$kept/" 2>/dev/null || true
    rmdir "$found"
    grep -v '^#' "$log" | tail -n 40
    return 1
}

failed=0
running=0
for name in "${targets[@]}"; do
    if [ $running -ge "$(nproc)" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$name" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
[ ${#targets[@]} -gt 0 ] || { echo "there is no target"; failed=1; }
exit $failed
