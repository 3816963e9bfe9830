"""What the example scripts share: data, networks, training, pictures."""
