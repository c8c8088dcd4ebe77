"""The long form: `python -m tests.fuzz [--seconds N] [target …]`, guided by coverage.

Owns: running one process a target, one after the other, and the table at the end. What fails is written to reports/fuzz/<target>/.
Why a process each: the fuzzer's library ends its process when a target fails.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.mutation import CORPUS, MOST_BYTES
from tests.fuzz.targets import TARGETS

REPORTS = Path("reports/fuzz")


def main() -> int:
    """Fuzz, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=f"of {', '.join(TARGETS)}")
    arguments = parser.parse_args()
    if arguments.one:
        return fuzz(arguments.targets[0], arguments.seconds)
    failed = 0
    for target in arguments.targets:
        command = [sys.executable, "-m", "tests.fuzz", "--one", "--seconds", str(arguments.seconds), target]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=arguments.seconds + 120)
        runs = re.findall(r"Done (\d+) runs|#(\d+)\s", done.stderr)
        count = max((int(one or other) for one, other in runs), default=0)
        print(f"{target:<14} {'ok' if done.returncode == 0 else 'FAILED'}  {count} inputs in {arguments.seconds} s")
        if done.returncode:
            failed += 1
            print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    return 1 if failed else 0


def fuzz(target: str, seconds: int) -> int:
    """Fuzz one target in this process."""
    import atheris  # noqa: PLC0415 - only the long form has it

    folder = REPORTS / target
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    atheris.instrument_all()
    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
        str(folder / "corpus"),
        str(CORPUS / target),
    ]
    atheris.Setup(options, TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
