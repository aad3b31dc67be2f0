"""The widgets of the terminal UI; each draws, and asks its screen for everything else."""
