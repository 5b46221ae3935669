"""What the papers print for the methods of the rows: TF-CoVR, test split, mAP@5/10/25/50 in percent.

Other data, other encoders, other queries: beside our numbers they show the order of the methods, not their size.
"""

from __future__ import annotations

AT = (5, 10, 25, 50)
SOURCE = "TF-CoVR, test split, published protocol"
NUMBERS: dict[str, tuple[str, tuple[float, float, float, float]]] = {
    "text-only": ("BLIP-2 text, fine-tuned", (10.69, 13.02, 15.35, 16.41)),
    "video-only": ("BLIP-2 video, fine-tuned", (4.86, 6.49, 8.92, 10.06)),
    "average": ("LanguageBind average, zero-shot", (3.43, 4.37, 5.26, 5.92)),
    "frame-mlp-1": ("BLIP-2 MLP, 1 query frame", (10.86, 13.20, 15.38, 16.31)),
    "frame-mlp-12": ("BLIP-2 MLP, 15 query frames", (11.64, 14.81, 16.74, 17.55)),
    "cross-attention": ("BLIP-CoVR, fine-tuned", (11.07, 13.94, 16.07, 16.88)),
    "ecde": ("ECDE, fine-tuned", (13.03, 15.90, 18.62, 19.83)),
    "tf-covr-base-stage2-only": ("TF-CoVR-Base, stage 2 only, 8 frames", (15.08, 18.70, 21.78, 22.61)),
    "tf-covr-base": ("TF-CoVR-Base, 12 frames", (21.85, 24.23, 26.47, 27.22)),
    "blip2-text": ("BLIP-2 text, fine-tuned", (10.69, 13.02, 15.35, 16.41)),
    "blip2-video": ("BLIP-2 video, fine-tuned", (4.86, 6.49, 8.92, 10.06)),
    "clip-mlp-1": ("CLIP MLP, 1 query frame", (7.01, 8.35, 10.22, 11.38)),
    "clip-mlp-15": ("CLIP MLP, 15 query frames", (6.40, 7.46, 9.21, 10.40)),
    "blip2-mlp-1": ("BLIP-2 MLP, 1 query frame", (10.86, 13.20, 15.38, 16.31)),
    "blip2-mlp-15": ("BLIP-2 MLP, 15 query frames", (11.64, 14.81, 16.74, 17.55)),
    "blip-covr": ("BLIP-CoVR, fine-tuned", (11.07, 13.94, 16.07, 16.88)),
    "languagebind-avg": ("LanguageBind average, zero-shot", (3.43, 4.37, 5.26, 5.92)),
    "tfr-cvr": ("TF-CVR (text), zero-shot", (0.56, 0.76, 0.99, 1.24)),
}
"""Row -> the published row of its kind."""
