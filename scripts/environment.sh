#!/usr/bin/env bash
# Bring .venv to what the locks say: scripts/environment.sh runtime|dev|bench|fuzz
# Does nothing when that has been done for the very same locks. Nothing is installed but what a lock names with its hash.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
runtime) locks=(runtime) ;;
dev) locks=(runtime dev) ;;
bench) locks=(runtime dev bench) ;;
fuzz) locks=(runtime dev fuzz) ;;
*)
    echo "usage: scripts/environment.sh runtime|dev|bench|fuzz" >&2
    exit 2
    ;;
esac

# Debian splits venv: without its package python3-venv there is no ensurepip, and a .venv would have no pip.
fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    echo "No Python of version 3.11 or later, with its venv module (Debian: python3-venv), was found; python3 is $(python3 --version 2>&1 || true)." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python ..." >&2
    exit 1
}

if ! [ -x .venv/bin/python ] || ! fits .venv/bin/python; then
    python=$(find_python)
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

files=(requirements/tools.txt pyproject.toml)
for lock in "${locks[@]}"; do files+=("requirements/$lock.txt"); done
# The folder is part of the stamp: a copied or moved .venv points elsewhere and is installed anew.
wanted=$({ pwd && cat "${files[@]}"; } | .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
stamp=.venv/installed-$1
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

echo "installing requirements/$1.txt into .venv"
export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=$PWD/.venv
# pip is needed once: it checks and installs uv and the build backend by their hashes.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/tools.txt
for lock in "${locks[@]}"; do
    .venv/bin/uv pip install --quiet --no-deps --require-hashes -r "requirements/$lock.txt"
done
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
echo "$wanted" >"$stamp"
