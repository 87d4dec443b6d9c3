"""What plans are held against: random instances, every chain there is, an integer program, simple rules."""
