"""Run layerview as `python -m layerview`."""

from __future__ import annotations

import sys

from layerview.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
