"""What the doctor looks at: one file each, with one function that returns findings."""
