"""The command line: `python3 -m reactor`, or `wsreactor` where the package is installed."""

from __future__ import annotations

import sys

from reactor import tools


def main() -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(tools.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
