"""Commands that plan, race and sweep without a server, and the output of their results."""
