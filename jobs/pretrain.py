"""Stage 1: train the video encoder on the action classes of the clips table.

Reads tables/clips and the clips' files; writes frames/ and pretrain/ below `out`. The same command goes on where a
killed one stopped:

    python jobs/pretrain.py data=motions model=tf-covr-base-tiny out=out/demo
"""

from covr.job import main
from covr.train.pretrain import pretrain

if __name__ == "__main__":
    main(pretrain)
