"""From the control plane's Go sources to a program in the user's cache folder, once. Runs nothing of it."""
