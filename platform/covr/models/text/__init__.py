"""Text encoders: modification texts to unit vectors."""

from covr.models.text.encoder import TextConfig, TextEncoder
from covr.models.text.store import build_text

__all__ = ["TextConfig", "TextEncoder", "build_text"]
