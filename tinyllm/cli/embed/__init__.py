"""The parts of python -m tinyllm.embed, one command line each."""
