"""The safety checklist of the fetch path: each line a test, on each path, against torch's own loader.

A fetch path is a knob with a value, one line in `paths.py`. Every scenario runs as written and then with the path
installed; what it saw is plain data, and must be equal.
"""
