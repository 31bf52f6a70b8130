"""The web: routes, negotiation, problem documents and the OpenAPI document."""
