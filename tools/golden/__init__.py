"""Makes the numbers that the C++ tests are held against (tools/make_golden.py is the command)."""
