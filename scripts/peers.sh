#!/usr/bin/env bash
# Install the servers that `make bench-all` measures beside: what Python has none of. One that cannot be installed is named, and its rows say so.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

left_out() { echo "** $1 is not measured: $2" >&2; }

modules=benchmarks/peers/node
stamp=$modules/node_modules/.installed
if ! command -v npm >/dev/null; then
    left_out "ws, socket.io and Bun" "there is no npm (Debian: apt-get install nodejs npm)"
elif [ "$(cat "$stamp" 2>/dev/null)" != "$(sha256sum <"$modules/package-lock.json")" ]; then
    echo "installing $modules/package-lock.json"
    if npm ci --prefix "$modules" --no-audit --no-fund --loglevel=error; then
        sha256sum <"$modules/package-lock.json" >"$stamp"
    else
        left_out "ws, socket.io and Bun" "npm ci failed"
    fi
fi

# debian NAME PACKAGE: install the package, or say what to do
debian() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $2"
        { apt-get update && apt-get install -y --no-install-recommends "$2"; } >/dev/null 2>&1 </dev/null ||
            left_out "$1" "apt-get could not install $2"
    else
        left_out "$1" "install it: sudo apt-get install --no-install-recommends $2"
    fi
}

[ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || debian nchan libnginx-mod-nchan
PATH=$PATH:/usr/sbin command -v nats-server >/dev/null || debian NATS nats-server
