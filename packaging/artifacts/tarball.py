"""Archives whose bytes depend on nothing but what is in them: sorted names, one time, no owner."""

import gzip
import io
import tarfile


def write(path, files, time):
    """Writes `files`, pairs of content and mode by name, into a compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            content, mode = files[name]
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, time
            tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(compress(buffer.getvalue()))
    return path


def compress(content):
    """Compresses without a name and a time."""
    return gzip.compress(content, compresslevel=9, mtime=0)
