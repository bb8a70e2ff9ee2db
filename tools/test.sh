#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what the tests need and runs all of them; the last line counts them.
# INLAY_TEST_DATA names a folder with real models and tokenizers, for the tests that can use it.
set -uo pipefail
. "$(dirname "$0")/lib/setup.sh"

set -e
install_packages $build_packages $test_packages
install_driver
configure_and_build "$build"
set +e

passed=0 failed=0 skipped=0
failures="" not_run=""

# report NAME STATUS SECONDS LOG: exit 0 passed, 77 skipped, anything else failed and shows what it
# printed.
report() {
    local name=$1 word=FAILED
    case $2 in
    0) passed=$((passed + 1)) word=ok ;;
    77) skipped=$((skipped + 1)) word=skipped ;;
    *) failed=$((failed + 1)) failures="$failures $name" ;;
    esac
    printf '%-44s %-8s %4d s\n' "$name" "$word" "$3"
    [ "$word" = ok ] || tail -n 60 "$4"
    grep -hE '^(\[  SKIPPED|.*skipped:|NOT CHECKED)' "$4" | head -5
    rm -f "$4"
}

# run NAME COMMAND...: the command alone, but for one that runs beside.
run() {
    local name=$1 log start status
    shift
    log=$(mktemp)
    start=$(date +%s)
    "$@" >"$log" 2>&1
    status=$?
    report "$name" $status $(($(date +%s) - start)) "$log"
}

# beside NAME COMMAND...: the command runs while others do, two of its kind at a time, at low
# priority, and is reported by settle. For what uses one processor, or waits for the network, and
# measures no time.
beside_pids=() beside_names=() beside_logs=()
beside() {
    local log
    log=$(mktemp)
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
    beside_names+=("$1") beside_logs+=("$log")
    shift
    (
        start=$(date +%s)
        trap 'status=$?; echo "$status $(($(date +%s) - start))" >"$log.end"' EXIT
        renice -n 5 "$BASHPID" >/dev/null
        "$@" >"$log" 2>&1
    ) &
    beside_pids+=($!)
}

# settle: waits for all that runs beside.
settle() {
    local i status seconds
    for i in "${!beside_pids[@]}"; do
        wait "${beside_pids[i]}"
        read -r status seconds <"${beside_logs[i]}.end" || { status=1 seconds=0; }
        rm -f "${beside_logs[i]}.end"
        report "${beside_names[i]}" "$status" "$seconds" "${beside_logs[i]}"
    done
    beside_pids=() beside_names=() beside_logs=()
}

. "$root/tools/lib/suites.sh"
settle

[ -z "$not_run" ] || printf '\033[1m!! %s\033[0m\n' "$not_run"
[ -z "$failures" ] || echo "failed:$failures"
if [ $((passed + failed)) -eq 0 ]; then
    echo "no test ran"
    failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
