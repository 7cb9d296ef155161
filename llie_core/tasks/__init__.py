"""What is measured of enhanced images: one file a downstream task, one evaluation loop."""
