"""The graph as modules: supernets and derived networks, and the weights that go into them."""
