"""ingest: reads the data set that `data=` names; writes media/ and tables/ (clips, texts, triplets, galleries).

python jobs/ingest.py data=motions data.size=small out=out/demo
"""

from covr.datasets.ingest import ingest
from covr.job import main

if __name__ == "__main__":
    main(ingest)
