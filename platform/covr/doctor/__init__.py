"""What is wrong with this machine, and what to do about it; a module for each group of checks."""
