"""What result files say: numbers, goals, tables and pictures. Nothing is measured here."""
