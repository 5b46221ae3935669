"""Score the frames of targets by the queries' words, as CoVR weighs them.

Reads tables/, pretrain/model and features/; writes scores/<split>/<annotation file> below `out`, to be read in place of
the published file (`data.files.train=FILE`):

    python jobs/score_targets.py data=webvid-covr data.root=datasets model=blip-covr out=out/webvid
"""

from covr.embed.target_scores import score_targets
from covr.job import main

if __name__ == "__main__":
    main(score_targets)
