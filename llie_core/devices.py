"""Devices in words, as records, scores and benchmarks name them."""


def device_name(device) -> str:
    """The GPU's name, or the processor's with its thread count."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.get_num_threads()} threads)"
