"""How fast it is, side by side with peers: one file a question, results kept with machine and versions."""
