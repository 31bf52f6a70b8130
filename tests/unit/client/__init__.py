"""Tests of client/tensor_service_client, a module each."""
