"""The application that FastAPI serves: routes, middleware, pages and the OpenAPI document."""
