"""Files to read data sets from: in a folder, a zip and a tar."""

import tarfile
import zipfile


def folder_of(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zip_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in reversed(files.items()):
            file.writestr(name, data)
    return path


def tar_of(path, files):
    root = folder_of(path.parent / f"for {path.name}", files)
    with tarfile.open(path, "w:gz") as file:
        for name in files:
            file.add(root / name, name)
    return path
