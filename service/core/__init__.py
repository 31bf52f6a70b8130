"""Values and facilities that all other packages share.

call           `Call` and `Outcome`, the values that pass through the layers
dtypes         table of the dtypes, with their torch, numpy and protocol types
requirements   modules and programs that some strategies need
devices        devices of this host, their readiness, and the choice for a call
dask_cluster   connection to a Dask cluster, for operands beyond one host
array_files    arrays in files, read and written by parts
pinned_memory  memory that a GPU copies from and to by itself
timing         phases of a request, in nanoseconds
validators     parsers of small request fields
host           CPU and memory that this process may use
units          quantities as text for people
"""
