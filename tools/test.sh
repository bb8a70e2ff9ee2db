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
failures=""

# run NAME COMMAND...: exit 0 passes, 77 skips, anything else fails and shows what it printed.
run() {
    local name=$1 log start status
    shift
    log=$(mktemp)
    start=$(date +%s)
    "$@" >"$log" 2>&1
    status=$?
    case $status in
    0) passed=$((passed + 1)) word=ok ;;
    77) skipped=$((skipped + 1)) word=skipped ;;
    *) failed=$((failed + 1)) word=FAILED failures="$failures $name" ;;
    esac
    printf '%-44s %-8s %4d s\n' "$name" "$word" $(($(date +%s) - start))
    [ "$word" = ok ] || tail -n 60 "$log"
    grep -hE '^(\[  SKIPPED|.*skipped:)' "$log" | head -5
    rm -f "$log"
}

. "$root/tools/lib/suites.sh"

[ -z "$failures" ] || echo "failed:$failures"
if [ $((passed + failed)) -eq 0 ]; then
    echo "no test ran"
    failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
