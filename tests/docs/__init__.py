"""The documentation: its examples run, its steps lead where they say, its site stands alone."""
