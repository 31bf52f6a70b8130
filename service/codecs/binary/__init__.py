"""Binary formats: safetensors, npy, npz and bare bytes."""
