"""What is computed on: critics, with the samples that they judge."""
