"""Pages that are made from the program: ``python -m tools`` writes them anew."""
