"""The Open Inference Protocol over HTTP: each operation is a model, each strategy a version of it.

`auto` is a version as well, and the one of a request that names none. `service.wire.inference`
reads and writes the bodies; calls are planned and run as those of the service's own routes.
"""
