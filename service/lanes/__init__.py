"""Where a call runs: inline for tiny ones, a thread for the others.

Killable worker processes and the owner of a GPU will stand beside these two.
"""
