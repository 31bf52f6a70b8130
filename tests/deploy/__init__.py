"""The files under deploy/, as they are deployed."""
