"""Tasks of the installed lm-eval as tasks of ours: `definition` finds one, `judge` reads answers, `task` asks."""
