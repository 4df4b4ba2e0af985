"""Calls to language models through LiteLLM: requests, streamed answers, retries, and translation of errors."""
