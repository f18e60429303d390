"""Where and in which order the work is done: scheduler, engines, guards and workers."""
