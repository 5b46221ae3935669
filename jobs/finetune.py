"""Stage 2: train each row of `rows` on the triplets, with the vectors of the stage-1 encoder.

Reads tables/triplets, tables/galleries, pretrain/model and features/; writes retrievers/<row>/ below `out`. The same
command goes on where a killed one stopped:

    python jobs/finetune.py data=motions model=tf-covr-base-tiny out=out/demo
"""

from covr.job import main
from covr.train.finetune import finetune

if __name__ == "__main__":
    main(finetune)
