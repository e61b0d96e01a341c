"""`consilience`, or `python -m consilience`: Ctrl-C is answered in a line from the first import on."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from consilience.frontends.cli.main import main as command_line
    except KeyboardInterrupt:
        print("interrupted: nothing is left half-written", file=sys.stderr)
        sys.exit(130)
    command_line(prog_name="consilience")


if __name__ == "__main__":
    main()
