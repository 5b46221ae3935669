"""Labelled clips become triplets: label pairs, modifications, right answers, galleries."""
