"""Commands that plan, race and sweep without a server, and show what they found."""
