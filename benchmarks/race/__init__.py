"""How the cases are raced: each suite in a process of its own, compared first and then timed."""
