"""The index job; see `covr.index.build`: reads tables, features and a retriever, writes index/."""

from covr.index.build import index
from covr.job import main

if __name__ == "__main__":
    main(index)
