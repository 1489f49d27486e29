"""The rule books: pure machines, one file an algorithm. `catalogue.py` lists them."""
