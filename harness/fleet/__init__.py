"""Several engines of one model, a process each, that answer as one."""
