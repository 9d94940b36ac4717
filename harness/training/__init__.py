"""From a recipe to whole weights: recipes, data, the training in its child process, merging, sweeps."""
