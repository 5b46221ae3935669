"""Action classification on top of a video encoder: stage 1's model."""

from __future__ import annotations

from torch import Tensor, nn

from covr.models.video.encoder import VideoEncoder


class ActionClassifier(nn.Module):
    """Pooled clip vector, dropout, one linear head for the label and one for each attribute.

    Args:
        encoder: the video encoder that is trained.
        labels: names of the action classes, in the order of the logits.
        attributes: values of each auxiliary attribute, in the order of its logits; empty in the published form.
        dropout: before the heads (published: 0.5).
    """

    def __init__(
        self, encoder: VideoEncoder, labels: list[str], attributes: dict[str, list[str]], dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.labels, self.attributes = labels, attributes
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.dim, len(labels))
        self.attribute_heads = nn.ModuleList(nn.Linear(encoder.dim, len(values)) for values in attributes.values())
        for head in (self.head, *self.attribute_heads):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    def forward(self, pixels_BTCHW: Tensor) -> dict[str, Tensor]:
        """Logits by name: `label` (B, labels), and each attribute's (B, values)."""
        clips_BD = self.dropout(self.encoder.pool(pixels_BTCHW))
        logits = {name: head(clips_BD) for name, head in zip(self.attributes, self.attribute_heads, strict=True)}
        return {"label": self.head(clips_BD), **logits}
