"""The lattice by Fourier transform: spots, grains, angles, presence, strain."""
