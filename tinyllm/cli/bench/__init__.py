"""The parts of the command `bench`."""
