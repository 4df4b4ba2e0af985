"""Creates, finds and reads pull requests at each git provider, and classifies refusals."""
