"""Einstein summation."""
