"""The load test: calls as they come in practice, each answer checked, on Locust."""
