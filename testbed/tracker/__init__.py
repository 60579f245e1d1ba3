"""The tracker: swarms, peer selection by policy with the portals' guidance, and HTTP announce."""
