"""Run the notebooks as they stand and store the text of their tagged cells (`make golden`).

Only cells tagged `nbval-check-output` keep outputs; nbval compares them in `make test`. Look at the
diff before committing it: a changed golden value is a changed result.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TAG = "nbval-check-output"


def store(path: Path) -> None:
    """Execute one notebook with its default parameters and rewrite it with its golden outputs."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        golden = TAG in cell.metadata.get("tags", [])
        count += golden
        # nbval passes over cells without a count.
        cell.execution_count = count if golden else None
        cell.outputs = cell.outputs if golden else []
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        store(Path(name))
