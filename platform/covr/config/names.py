"""Options as users of CoVR, BSE-CoVR and TF-CoVR write them, read as ours; docs/coming-from-covr.md lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covr.errors import UserError
from covr.report.console import say

SAME = {
    "data=fashioniq-all": ("data=fashioniq",),
    "data=finegd-covr-aim": ("data=tf-covr",),
    "data=finegd-covr-aim-clip": ("data=tf-covr",),
    "data=finegd-covr-blip2-covr": ("data=tf-covr",),
    "data=finegd-covr-blip2-mlp": ("data=tf-covr",),
    "data=finegd-covr-blip2-text": ("data=tf-covr",),
    "data=finegd-covr-blip2-vision": ("data=tf-covr",),
    "model=blip-large": ("model=blip-covr",),
    "model=blip-large_text": ("model=blip-covr-text",),
    "model=blip-large_visual": ("model=blip-covr-visual",),
    "model=blip2-coco": ("model=covr-2",),
    "model=blip2-coco_text": ("model=blip2-text",),
    "model=blip2-coco_visual": ("model=blip2-video",),
    "model=aim": ("model=tf-covr-published",),
    "model=aim_clip": ("model=tf-covr-published-clip",),
    "model=clip": ("model=clip-mlp",),
    "model/ckpt=aim": ("model/ckpt=none",),  # the released file is an empty path: weights of BERT
    "trainer=gpu": ("trainer.accelerator=gpu",),
    "trainer=ddp": ("trainer.accelerator=gpu",),
    "trainer=cpu": ("trainer.accelerator=cpu",),
    "machine=server": ("machine=local",),
    "data.emb_pool=query": ("model.joint.target_pooling=scores",),
    "data.emb_pool=mean": ("model.joint.target_pooling=mean",),
    "data.emb_pool=middle": ("model.joint.target_pooling=middle",),
    "data.vid_query_method=middle": (),  # what every model reads
    "data.iterate=triplets": (),  # every triplet once an epoch, as here
    "experiment=covr_hard-negatives": ("model/loss=cross_entropy",),  # what the released file does, despite its name
    "experiment=covr_late-fusion": ("model=blip-covr-late-fusion",),
    "experiment=covr_middle-emb": ("model.joint.target_pooling=middle",),
    "experiment=covr_iterate-triplets": ("model.finetune.max_epochs=2",),
}
"""An option with its value, and what says the same here."""

RENAMED = {
    "machine.batch_size": "model.finetune.batch_size",
    "machine.num_workers": "machine.decode_workers",
    "trainer.max_epochs": "model.finetune.max_epochs",
}
"""An option, and its name here."""

NEAREST = {
    "data=webvid-covr_rule-based": "rule-based edits are not made; data=webvid-covr has the written ones",
    "data=cc-coir+webvid-covr": "train on data=cc-coir, then on data=webvid-covr from its checkpoint (model.ckpt.path)",
    "data.iterate": "every triplet is seen once an epoch (CoVR's data.iterate=triplets)",
    "data.vid_query_method": "the query's frame is the middle one, or all of them by model.joint.query_frames",
    "model=combiner": "the gated combiner is model/fusion=mlp-768, in model=tf-covr-base and model=tf-covr-published",
    "model/ckpt": "give the downloaded file: model.ckpt.path=FILE, and the model it belongs to (model=...)",
    "test=main": "test=webvid-covr, test=cirr-val, ..., or test=all for all of the data set",
    "trainer/logger": "runs are tracked with MLflow in the storage root; covr runs --json tells every number",
    "trainer.num_nodes": "the cluster decides: machine.address=ADDRESS and trainer.devices=WORKERS",
    "experiment": "write its options out; docs/coming-from-covr.md lists them",
    "experiment2": "write its options out; docs/coming-from-covr.md lists them",
    "val": "validation is cheap: trainer.check_val_every_n_epoch=N says how often",
    "run_name": "a run is named by its storage root: out=out/NAME",
}
"""An option, with or without its value, that has no counterpart, and what is nearest."""


def translate(overrides: Sequence[str]) -> list[str]:
    """The overrides in our names; each one that was another is told.

    Raises:
        UserError: an option of CoVR that has no counterpart, with the nearest thing.
    """
    found: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if override in SAME and not _is_ours(key, value):
            ours = SAME[override]
        elif key in RENAMED and equals:
            ours = (f"{RENAMED[key]}={value}",)
        elif (nearest := NEAREST.get(override, NEAREST.get(key))) and not _is_ours(key, value):
            raise UserError("this option of CoVR has no counterpart", override, nearest)
        else:
            ours = (override,)
        if ours != (override,):
            say(f"  {override}: read as {' '.join(ours) or 'what is done anyway'}")
        found += ours
    return found


def _is_ours(group: str, value: str) -> bool:
    return (Path(__file__).parent / group / f"{value}.yaml").is_file()
