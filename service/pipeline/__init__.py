"""The pipeline of one request: decode, plan, run, encode, and the executor that it runs on."""
