"""The page in a real Chromium, against the real server on the simulated venue."""
