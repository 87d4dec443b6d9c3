"""``python -m fita`` is the command `fita`."""

from fita.cli.main import main

main()
