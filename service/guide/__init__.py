"""The guide: the files of docs/ as pages, and JSON resources as pages in the same frame."""
