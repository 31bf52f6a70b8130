"""Binary formats: safetensors, npy, npz and raw bytes."""
