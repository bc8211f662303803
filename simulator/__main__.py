"""`python -m simulator` is `flysim`."""

from simulator.cli import main

main()
