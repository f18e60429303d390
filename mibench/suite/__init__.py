"""What is to be done: suites, their cells, and which of these are done."""
