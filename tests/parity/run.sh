#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares inlay with PyTorch, transformers, PEFT, gguf and the tokenizer libraries.
# usage: tests/parity/run.sh [pytest options]; INLAY_BUILD names the build folder.
#
# What it compares with is installed into .venv at the first run. Exit 77: that could not be done.
set -uo pipefail
. "$(dirname "$0")/../../tools/lib/setup.sh"
here=$root/tests/parity
export INLAY_BUILD=$build

make_venv "$here/requirements.txt" || { echo "skipped: $venv_problem"; exit 77; }
cd "$here" || exit 1
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
# Warnings are theirs, about each other.
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider -W ignore --tb=short -rs "$@" </dev/null
