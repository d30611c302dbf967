"""The MuJoCo world, its cameras, and what draws them."""
