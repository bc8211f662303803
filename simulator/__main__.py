"""Entry point of `python -m simulator`, which is the same as `flysim`."""

from simulator.cli import main

main()
