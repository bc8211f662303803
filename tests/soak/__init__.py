"""Soak test: a running `flysim up` under load and faults, a history of everything, and rules that it must satisfy.

`make soak` runs it. `plan.py` decides from the seed what happens, `driver.py` does it, `clients.py` and `app.py` are
the two ends of each request, `rules.py` reads the history and nothing else.
"""
