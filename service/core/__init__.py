"""Values and facilities that every layer shares: calls, dtypes, devices, timing, units."""
