"""What the commands share: flags, the terminal, and how a mistake becomes one line."""
