"""Entry point of the Dataflow flex template: runs ``classify`` with the template's parameters."""

from __future__ import annotations

import sys

from catalogue.cli.command import leave
from pipeline.__main__ import main
from pipeline.runner.flex_template import command

if __name__ == "__main__":
    sys.argv[1:] = command(sys.argv[1:])
    leave(main())
