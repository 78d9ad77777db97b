"""Where the notebooks are: beside the package in a clone, inside it when it was installed from a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
NOTEBOOK_FOLDERS = (PACKAGE.parent / "notebooks", PACKAGE / "notebooks")


def find_notebook(name: str) -> Path:
    """Return the path of one of the project's notebooks, for example "04_draw" or "04_draw.ipynb".

    Raises FileNotFoundError, which names the places looked at, when there is none of that name.
    """
    file_name = Path(name).with_suffix(".ipynb").name
    for folder in NOTEBOOK_FOLDERS:
        if (folder / file_name).is_file():
            return folder / file_name
    places = " and ".join(str(folder) for folder in NOTEBOOK_FOLDERS)
    raise FileNotFoundError(f"there is no notebook {file_name}; looked in {places}. Install digit-utils again")
