"""`fita model`: inspect, plan, run and measure."""
