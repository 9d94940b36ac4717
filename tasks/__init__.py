"""What is asked: one file a task. A name without a leading underscore is a task of that name."""
