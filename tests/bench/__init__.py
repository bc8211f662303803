"""How fast the proxy is, side by side with stock mitmdump and nginx: `make bench`. Never a timed test."""
