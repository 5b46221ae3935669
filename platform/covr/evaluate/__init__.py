"""Metrics and protocols over ranked lists."""
