"""Training, run folders, and what may be reused; it knows no model, data set or paper."""
