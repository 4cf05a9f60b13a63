"""Entry of the `msformers` command, outside the package so that `msformers --help` can answer without loading torch.

`import msformers` registers every model, which loads torch and transformers (about 5 s). A module inside the package
could not avoid that, because importing it imports the package first. This one says beforehand whether the command
line only asks for help; `msformers/__init__.py` looks at `LIGHT` and leaves the registration out if so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

LIGHT = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` defaults to `sys.argv[1:]`. Returns the exit status."""
    global LIGHT
    arguments = list(sys.argv[1:] if argv is None else argv)
    LIGHT = not arguments or bool({"-h", "--help", "--version"} & set(arguments))
    from msformers.cli import main as run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
