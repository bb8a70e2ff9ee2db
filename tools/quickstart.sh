#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# From a clean checkout to a fine-tuned model: installs what is missing, builds, teaches the shipped
# base model to turn a player's sentences into JSON commands, and shows what changed.
set -euo pipefail
. "$(dirname "$0")/lib/setup.sh"

base=$root/tools/basemodel/base.gguf
train_data=$root/tools/basemodel/commands-train.jsonl
held_out=$root/tools/basemodel/commands-heldout.jsonl
out=${1:-$root/out/quickstart}
inlay=$build/tools/inlay

install_packages $build_packages
install_driver
configure_and_build "$build"
# After a build with everything in it there is nothing left to make, and this is quick.

started=$(date +%s)
say "held-out examples before training"
"$inlay" eval -m "$base" -d "$held_out" --max-length 128 --exact-match --show 3 --json \
    >"$build/before.json"

say "training"
"$inlay" train -m "$base" -d "$train_data" -o "$out" --overwrite-output-dir \
    --max-length 128 --batch-size 1 --max-steps 640 --learning-rate 3e-3 \
    --lr-scheduler-type cosine --warmup-steps 8 --lora-r 16 --lora-alpha 32 --seed 1 \
    --logging-steps 40 --json >"$build/train.json"

say "held-out examples after training"
"$inlay" eval -m "$base" -a "$out" -d "$held_out" --max-length 128 --exact-match --show 3 --json \
    >"$build/after.json"
finished=$(date +%s)

python3 "$root/tools/lib/show_quickstart.py" --before "$build/before.json" \
    --after "$build/after.json" --train "$build/train.json" --out "$out" --base "$base" \
    --seconds $((finished - started))
