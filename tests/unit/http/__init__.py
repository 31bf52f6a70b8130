"""Tests of service/http, a module each."""
