"""What is behind :func:`wgan_fast.captured`: record a loss and its gradients, and repeat them."""
