#!/usr/bin/env bash
# See that nginx, haproxy and iptables are there, for the tests of smuggling behind proxies and of a primary that the network cuts off. Without
# them those tests are skipped, and say so.
set -euo pipefail

missing=()
for name in nginx haproxy iptables; do
    PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$name" >/dev/null || missing+=("$name")
done
if [ "${#missing[@]}" = 0 ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
fi
cat >&2 <<END
*********************************************************************************************
* NOT TESTED: what needs ${missing[*]}.
* To test it: sudo apt-get install --no-install-recommends ${missing[*]}
*********************************************************************************************
END
