"""The tests: `contract` over HTTP, `unit` for the modules below it."""
