"""What can go wrong, on purpose: one small file for each fault and a line in the registry.

Each fault knows how to bring itself about and how to mend itself: by real means where there are any, and else by a
condition of the network, which the proxy asks about.
"""
