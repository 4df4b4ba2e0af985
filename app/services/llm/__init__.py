"""Calls to language models: requests, streamed answers and faults, through LiteLLM."""
