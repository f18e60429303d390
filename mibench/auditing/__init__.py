"""The audit of a model that someone else has trained: loading it, checking it, attacking it, and the report."""
