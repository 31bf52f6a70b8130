"""Plans: the strategy and device of a call, its estimated cost, and whether it is admitted."""
