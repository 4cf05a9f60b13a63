"""Foreign checkpoints to ours, read without unpickling any foreign class."""
