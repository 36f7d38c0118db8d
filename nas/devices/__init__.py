"""Devices and runtimes by name, and what this machine is."""
