#!/usr/bin/env bash
# Compile the locks anew from pyproject.toml and requirements/*.in: scripts/lock.sh [--upgrade]
# Universal (one file for every platform and Python), with hashes, and without a registry's address.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export UV_PYTHON_DOWNLOADS=never

compile() {
    .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 "$@"
}
compile requirements/tools.in -o requirements/tools.txt "$@"
compile pyproject.toml --extra server -c requirements/tools.txt -o requirements/runtime.txt "$@"
compile pyproject.toml --extra server --group dev -c requirements/tools.txt -c requirements/runtime.txt -o requirements/dev.txt "$@"
compile requirements/bench.in -o requirements/bench.txt "$@"
compile requirements/fuzz.in -o requirements/fuzz.txt "$@"
