"""Files of workspaces on the disk: found, read, written, measured and removed, whatever a command made of them."""
