"""The SqueezeNAS search spaces."""
