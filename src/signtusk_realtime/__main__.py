"""`python -m signtusk_realtime` is the command."""

import sys

from signtusk_realtime.cli import main

sys.exit(main())
