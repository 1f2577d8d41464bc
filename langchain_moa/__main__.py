"""`python -m langchain_moa`: the command line."""

from __future__ import annotations

import sys

from langchain_moa.cli import main

if __name__ == "__main__":
    sys.exit(main())
