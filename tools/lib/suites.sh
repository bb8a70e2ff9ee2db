# SPDX-License-Identifier: MIT
# Every suite that tools/test.sh runs; sourced by it. Uses run, root, build.

for name in base quant gguf tokenizer dataset schedule plot; do
    run "unit: $name" "$build/tests/test_$name"
done

# Fuzz targets: what once went wrong, then a minute each of something new.
for program in "$build"/tests/fuzz/replay_*; do
    [ -d "$program" ] || run "replay: ${program##*/replay_}" "$program" \
        "$root/tests/fuzz/regressions/${program##*/replay_}"
done
run "fuzz: a minute for each target" "$root/tools/fuzz.sh" 60

run "guard: layers" python3 "$root/tools/check_layers.py" --self-test
run "guard: headers" python3 "$root/tests/headers/check_headers.py" "$build"
run "guard: symbols, planted" python3 "$root/tools/check_symbols.py" --self-test
run "guard: symbols" python3 "$root/tools/check_symbols.py" "$build"
run "guard: install" "$root/tests/install/check_install.sh" "$build"

# The device suites run with the validation layer on, then at the other subgroup sizes of the CPU driver.
for name in gradients resume training; do
    run "device: $name, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_$name"
    for width in 128 512; do
        run "device: $name, vector width $width" env LP_NATIVE_VECTOR_WIDTH=$width \
            "$build/tests/test_$name"
    done
done
run "device: import, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_import"
run "device: kernels, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_kernels"
for width in 128 512; do
    run "device: kernels, vector width $width" env LP_NATIVE_VECTOR_WIDTH=$width \
        "$build/tests/test_kernels" --quick
done

run "parity: PyTorch, transformers, PEFT" "$root/tests/parity/run.sh"
