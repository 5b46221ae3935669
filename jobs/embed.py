"""Embed every clip with the stage-1 encoder: `python jobs/embed.py out=out/demo [machine.decode_workers=4]`.

Reads tables/clips, the clip files and pretrain/model; writes features/<encoder fingerprint>/ and the clips it refuses
to tables/quarantine/. Run again, it computes only the vectors of clips that are new or changed.
"""

from covr.embed.job import embed
from covr.job import main

if __name__ == "__main__":
    main(embed)
