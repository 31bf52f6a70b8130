"""Load test on Locust: a realistic mix of calls, each response checked."""
