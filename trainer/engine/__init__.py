"""How any model is trained: the loop, its checkpoints, its schedule, processes side by side."""
