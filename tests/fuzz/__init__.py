"""Fuzzing of every parser and protocol: a stored corpus, mutations of it, and what must hold for any input.

`test_corpus.py` replays the corpus with all tests; `make fuzz` mutates it. An input that fails is stored in a temporary
folder; copy it to `corpus/<kind>/` under a name that says what it is.
"""
