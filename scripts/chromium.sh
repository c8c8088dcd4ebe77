#!/usr/bin/env bash
# Make sure that there is a Chromium for the browser tests. Browsers of Playwright's own are never downloaded.
set -euo pipefail

if [ -x /usr/bin/chromium ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if { apt-get update && apt-get install -y --no-install-recommends chromium; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        exit 0
    fi
    cat "$log" >&2
fi
cat >&2 <<'END'
*********************************************************************************************
* There is no /usr/bin/chromium, so the browser tests cannot run.                           *
* Install it: sudo apt-get install --no-install-recommends chromium                         *
*********************************************************************************************
END
exit 1
