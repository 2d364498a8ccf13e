"""Hot loops. `dispatch` is the way in: it checks the arguments and picks the compiled kernel or its NumPy twin."""
