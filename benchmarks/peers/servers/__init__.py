"""What is measured beside our service: each server in a file of its own."""
