"""From the files of a run to its verdict. Pure: the same files give the same verdict."""
