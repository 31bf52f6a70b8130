"""The documentation: examples run, steps work, and the site needs no other host."""
