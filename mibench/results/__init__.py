"""What is kept: records, artifacts, and what can be said of them without a model."""
