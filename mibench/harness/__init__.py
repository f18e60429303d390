"""What to do, what is missing, and doing it: suite → plan → run → records."""
