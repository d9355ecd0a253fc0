"""laborllm."""
