"""Fault injection: one small file per fault, and an entry for it in the registry.

A fault can be applied and undone. Where possible it acts on the real machine, for example by stopping its process;
otherwise it adds a condition to `NetworkConditions`, which the proxy checks.
"""
