# SPDX-License-Identifier: MIT
# Every suite that tools/test.sh runs; sourced by it. Uses run, root, build.

unit_tests="base dense parallel quant gguf gguf_split hf_folder safetensors tokenizer
tokenizer_folder dataset records chat jinja adapter adapter_experts adapter_peft adapter_gguf merge
oom schedule isa plot"
for name in $unit_tests; do
    run "unit: $name" "$build/tests/test_$name"
done

# The driver lab (tools/lab) and a build with its shader compiler, which knows matrix cores, are
# made while the suites of one processor run; so is the build with sanitizers.
lab_build=$root/build-lab
make_lab() {
    "$root/tools/lab/build.sh" --intel &&
        configure_and_build "$lab_build" -Dglslc="$root/tools/lab/glslc" \
            -Dspirv_val="$root/tools/lab/spirv-val"
}
beside "lab: drivers and a build with them" make_lab
sanitized=$root/build-sanitized
beside "sanitizers: build" configure_and_build "$sanitized" -Db_sanitize=address,undefined \
    -Dc_args=-fno-sanitize-recover=undefined -Dbuildtype=debugoptimized \
    -Ddefault_library=static -Dtools=false

# Fuzz targets: what once went wrong, then a minute each of something new.
run_replays() {
    local program name
    for program in "$2"/tests/fuzz/replay_*; do
        name=${program##*/replay_}
        [ -d "$program" ] ||
            run "$1: replay of $name" "$program" "$root/tests/fuzz/regressions/$name"
    done
}
run_replays fuzz "$build"
run "guard: layers" python3 "$root/tools/check_layers.py" --self-test
run "guard: style" python3 "$root/tools/check_style.py" --self-test
run "guard: readme" python3 "$root/tools/check_readme.py" --self-test
run "guard: commits" python3 "$root/tools/check_commits.py"
run "guard: headers" python3 "$root/tests/headers/check_headers.py" "$build"
run "guard: symbols, planted" python3 "$root/tools/check_symbols.py" --self-test
run "guard: symbols" python3 "$root/tools/check_symbols.py" "$build"
run "guard: install" "$root/tests/install/check_install.sh" "$build"

# The command as scripts use it.
for name in usage inspect data generate train stop limits bad_input folder adapters verify bench \
    compare; do
    run "cli: $name" python3 "$root/tests/cli/test_$name.py" "$build"
done

settle
run "fuzz: a minute for each target" "$root/tools/fuzz.sh" 60

# The device suites run with the validation layer on, then at the CPU driver's other subgroup sizes.
for name in gradients resume training generate limits; do
    for width in 128 512; do
        beside "device: $name, vector width $width" env LP_NATIVE_VECTOR_WIDTH=$width \
            "$build/tests/test_$name"
    done
    run "device: $name, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_$name"
    settle
done
run "device: device, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_device"
run "device: tiles, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_tiles"
run "device: oom, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_oom_device"
run "device: import, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_import"
run "device: kernels, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_kernels"
run "device: kernels of GPUs, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_kernels" \
    --gpu --quick
run "device: kernels of GPUs that verify takes" "$build/tests/test_kernels" --gpu --brief
run "device: verify, validated" env INLAY_TEST_VALIDATION=1 "$build/tests/test_verify"
for width in 128 512; do
    beside "device: kernels, vector width $width" env LP_NATIVE_VECTOR_WIDTH=$width \
        "$build/tests/test_kernels" --quick
done
settle

run "dev: shaders of a folder" python3 "$root/tests/dev/test_shaders.py" "$build"
run "dev: bench_train runs" "$build/tools/dev/bench_train" -n 1 -s 0.1 q8_0 nf4

# In the lab: everything on a current Mesa's CPU driver at subgroups of 4, 8 and 16, matrix cores
# too, and what compilers of cards that are not there make of the kernels.
in_lab() { "$root/tools/lab/run" lvp "$@"; }
at_width() { # at_width BITS TEST ARGUMENT...
    LP_NATIVE_VECTOR_WIDTH=$1 in_lab "$lab_build/tests/test_$2" "${@:3}"
}
if in_lab true >/dev/null 2>&1 && [ -x "$lab_build/tests/test_kernels" ]; then
    for name in gradients resume training generate limits; do
        for width in 128 256; do
            beside "lab: $name, vector width $width" at_width $width $name
        done
        run "lab: $name, vector width 512" at_width 512 $name
        settle
    done
    # At 512 bits the driver gets kernels of GPUs (gpu/caps.c), compiled for minutes: a case each.
    beside "lab: kernels, vector width 128" at_width 128 kernels --quick
    beside "lab: kernels, vector width 256" at_width 256 kernels --quick
    run "lab: kernels, vector width 512" at_width 512 kernels --brief
    settle
    beside "lab: products on matrix cores" env INLAY_TEST_PATHS=+matrix,-simd \
        "$root/tools/lab/run" lvp "$lab_build/tests/test_kernels" --gpu --brief --filter matmul
    run "lab: verify" in_lab "$lab_build/tests/test_verify"
    run "lab: kernels of a build without the lab" in_lab "$build/tests/test_kernels" --quick
    settle
    run "lab: the compile matrix" "$root/tools/lab/matrix" --check
    for target in radv:polaris10 anv:dg2; do # small models: what the matrix does not have
        run "lab: no spills on $target" "$root/tools/lab/run" $target \
            "$lab_build/tools/dev/kernel_stats" --check
    done
else
    not_run="THE DRIVER LAB IS NOT THERE: no matrix core was run, and nothing was compiled for AMD,
Intel and NVIDIA. tools/lab/build.sh --intel says why."
    run "lab: all its suites" sh -c "echo 'skipped: there is no driver lab'; exit 77"
fi

run "parity: PyTorch, transformers, PEFT" "$root/tests/parity/run.sh"
run "parity: llama.cpp" "$root/tests/llama_cpp/run.sh"

# Address and undefined-behaviour sanitizers over the CPU side, and over whole models on the CPU
# driver, which stays loaded to the end so that what it keeps for itself is not taken for a leak.
for name in $unit_tests; do
    run "sanitizers: $name" "$sanitized/tests/test_$name"
done
run_replays sanitizers "$sanitized"

on_cpu_driver() {
    local icd driver
    icd=$(ls /usr/share/vulkan/icd.d/lvp_icd*.json 2>/dev/null | head -1)
    driver=$(sed -n 's/.*"library_path": *"\(.*\)".*/\1/p' "$icd" /dev/null)
    [ -n "$driver" ] || { echo "skipped: the CPU driver, lavapipe, is not installed"; return 77; }
    env VK_ICD_FILENAMES="$icd" LD_PRELOAD="$(cc -print-file-name=libasan.so) $driver" "$@"
}
for name in gradients training resume generate limits device oom_device; do
    beside "sanitizers: $name" on_cpu_driver "$sanitized/tests/test_$name"
done
beside "sanitizers: kernels" on_cpu_driver "$sanitized/tests/test_kernels" --quick
