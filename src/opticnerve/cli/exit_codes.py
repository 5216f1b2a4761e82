"""Exit codes of the program, other than 0; 1 is for images that failed."""

MISTAKE = 2
"""Where the user has to change something."""
INTERRUPTED = 130
"""After Ctrl-C, as shells have it."""
