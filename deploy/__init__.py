"""What Duet is deployed with, and the programs that make what is generated of it."""
