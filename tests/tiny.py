"""The smallest studies."""

# Paper → changes that make its smoke profile run in seconds.
TINY = {
    "recognition": {"rows": ["gem_pam"]},
    "joint": {"ratios": ["1:0", "2:1"], "readers": ["mtcnn"]},
    "jcrnet": {"baselines": ["identity", "gamma"]},
    "drgn": {"baselines": ["identity", "gamma"], "rows": ["lw_drgn"]},
    "neid": {"baselines": ["identity", "gamma"], "pairs": {"size": 16, "test_size": 24}},
}
