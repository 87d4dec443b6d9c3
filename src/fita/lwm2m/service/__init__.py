"""The services of one device over object 9: packed, deployed, replaced and removed; their states and outputs."""
