"""What runs in the environments of the peers: a small file each, which imports nothing of ours."""
