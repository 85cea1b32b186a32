"""The size of an installation: an executable, or the folder of a package with its dependencies.

Parts that are on the machine already, such as Node or Python itself, do not count.

Samples: `size` (MB).
"""

PATHS = {"llamapool": "llamapool", "rathole": "rathole", "bore": "bore", "chisel": "chisel", "rust-mcp-proxy": "mcp-proxy (Rust)"}
# Two executables, one for each side.
PAIRS = {"frp": ("frps", "frpc"), "nfrx": ("nfrx", "nfrx-mcp")}
FOLDERS = {"supergateway": "supergateway", "python-mcp-proxy": "mcp-proxy (Python)", "fastmcp-proxy": "fastmcp"}


def run(rig):
    parts = rig.parts
    for path, part in PATHS.items():
        if parts.has(part):
            rig.sample("size", path, "executable", 0, (parts.programs[part].stat().st_size / 1e6, "MB"))
    for path, pair in PAIRS.items():
        if all(parts.has(part) for part in pair):
            both = sum(parts.programs[part].stat().st_size for part in pair)
            rig.sample("size", path, "executable", 0, (both / 1e6, "MB"))
    for path, part in FOLDERS.items():
        if parts.has(part):
            files = (file for file in parts.folders[part].rglob("*") if file.is_file() and not file.is_symlink())
            rig.sample("size", path, "folder", 0, (sum(file.stat().st_size for file in files) / 1e6, "MB"))
