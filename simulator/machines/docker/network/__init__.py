"""The private networks of a run, and flysim's gateway into them."""
