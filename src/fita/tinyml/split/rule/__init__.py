"""For every operator what it means to cut it to a box of its output."""
